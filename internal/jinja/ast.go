package jinja

// Expressions.
type (
	expr any

	constExpr struct{ value any }
	nameExpr  struct{ name string }
	listExpr  struct{ items []expr }
	tupleExpr struct{ items []expr }
	dictExpr  struct{ keys, values []expr }
	unaryExpr struct {
		op string // "+", "-" or "not"
		x  expr
	}
	binaryExpr struct {
		op   string // an arithmetic operator, "and" or "or"
		l, r expr
	}
	concatExpr  struct{ items []expr }
	compareExpr struct {
		x    expr
		ops  []string // "==" … ">=", "in", "not in"
		args []expr
	}
	condExpr struct {
		test, then, otherwise expr // otherwise may be nil
		line                  int
	}
	attrExpr struct {
		x    expr
		name string
	}
	itemExpr  struct{ x, index expr }
	sliceExpr struct{ start, stop, step expr } // each may be nil
	callExpr  struct {
		fn   expr
		args callArgs
	}
	filterExpr struct {
		x    expr // nil: the text of the enclosing block
		name string
		args callArgs
	}
	testExpr struct {
		x    expr
		name string
		args callArgs
	}
)

// callArgs are the arguments of a call as written.
type callArgs struct {
	pos      []expr
	keywords []string
	values   []expr // of the keywords
	star     expr   // *args, or nil
	dstar    expr   // **kwargs, or nil
}

// target is what an assignment fills: a name, an attribute of a namespace or a
// tuple of targets.
type target struct {
	name  string
	attr  string // of the namespace called name
	items []target
	tuple bool
}

// Statements.
type (
	stmt any

	outputStmt struct {
		items []expr // a string is template text
		lines []int
	}
	forStmt struct {
		target     target
		iter       expr
		filter     expr // nil without an "if"
		body       []stmt
		otherwise  []stmt
		recursive  bool
		line       int
		hidden     []string // names that are undefined until assigned; see scopes.go
		hiddenElse []string
	}
	ifStmt struct {
		tests     []expr
		bodies    [][]stmt
		otherwise []stmt
		line      int
	}
	macroStmt struct {
		name                    string
		params                  []string
		defaults                []expr // of the last parameters
		body                    []stmt
		varargs, kwargs, caller bool // the body reads the names
		hidden                  []string
	}
	callStmt struct {
		call  *callExpr
		macro macroStmt
		line  int
	}
	filterStmt struct {
		filter expr
		body   []stmt
		hidden []string
		line   int
	}
	setStmt struct {
		target target
		value  expr
		line   int
	}
	setBlockStmt struct {
		target target
		filter expr // nil without one
		body   []stmt
		hidden []string
		line   int
	}
	withStmt struct {
		targets []target
		values  []expr
		body    []stmt
		hidden  []string
		line    int
	}
	blockStmt struct {
		name   string
		scoped bool
		body   []stmt
		hidden []string
		line   int
	}
	scopeStmt struct {
		body   []stmt
		hidden []string
	}
	// loaderStmt is include, import or extends.
	loaderStmt   struct{ line int }
	breakStmt    struct{}
	continueStmt struct{}
)

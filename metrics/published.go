package metrics

// Published answers for a function of the published evaluator, named as there
// ("get_accuracy", "find_last_number") or as task files do ("accuracy"). args
// are Python values as encoding/json gives them with UseNumber: nil, bool,
// json.Number, string. exception is the class that the original raises. known
// is false for a name or a number of arguments that it does not have.
//
// The value is a float64 for scores and numbers, a string, a bool, or nil for
// None.
func Published(function string, args []any) (value any, exception string, known bool) {
	switch function {
	case "get_bool_value_from_text", "get_first_number", "find_last_number", "get_stsb_number":
		if len(args) != 1 {
			return nil, "", false
		}
		value, exception = publishedHelper(function, args[0])
		return value, exception, true
	}
	f := publishedFunction(function)
	if f == nil || len(args) != 2 {
		return nil, "", false
	}
	v := f(args[0], args[1])
	if v.raised != "" {
		return nil, v.raised, true
	}
	return v.value, "", true
}

func publishedFunction(name string) pyFunction {
	switch name {
	case "get_accuracy", "accuracy":
		return pyAccuracy
	case "get_binary_accuracy_flex", "binary_accuracy_flex":
		return pyBinaryAccuracyFlex
	case "get_mnli_accuracy", "mnli_accuracy":
		return pyMnliAccuracy
	case "get_mrpc_accuracy", "mrpc_accuracy":
		return pyMrpcAccuracy
	case "get_hellaswag_accuracy", "hellaswag_accuracy":
		return pyHellaswagAccuracy
	case "get_mmlu_accuracy", "mmlu_accuracy":
		return pyMmluAccuracy
	case "get_first_number_accuracy":
		return pyFirstNumberAccuracy
	case "get_customer_support_accuracy", "customer_support_accuracy":
		return pyCustomerSupportAccuracy
	case "get_dbpedia", "dbpedia":
		return pyDbpedia
	case "get_stsb", "stsb":
		return pyStsb
	case "get_gsm8k_regex", "gsm8k_regex":
		return pyGsm8k
	case "get_rouge", "rouge":
		return pyRouge
	case "get_drop", "drop":
		return pyDrop
	case "get_label_and_explanation", "label_and_explanation":
		return pyLabelAndExplanation
	}
	return nil
}

func publishedHelper(name string, arg any) (value any, exception string) {
	if name == "get_bool_value_from_text" {
		if b, ok := pyBool(arg); ok {
			return b, ""
		}
		return nil, ""
	}
	if name == "get_stsb_number" {
		f, ok, class := pyStsbNumber(arg)
		if class != "" {
			return nil, class
		}
		if !ok {
			return nil, ""
		}
		return f, ""
	}
	s, ok := arg.(string)
	if !ok {
		return nil, typeError
	}
	find := firstNumber
	if name == "find_last_number" {
		find = lastNumber
	}
	if n, ok := find(s); ok {
		return n, ""
	}
	return nil, ""
}

// IsPublished tells whether Published knows a function by this name.
func IsPublished(name string) bool {
	switch name {
	case "get_bool_value_from_text", "get_first_number", "find_last_number", "get_stsb_number":
		return true
	}
	return publishedFunction(name) != nil
}

package plugins

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

func metricInfoToPB(i core.MetricInfo) *pb.MetricInfo {
	return &pb.MetricInfo{
		Name:           i.Name,
		Profile:        string(i.Profile),
		Low:            i.Low,
		High:           i.High,
		HigherIsBetter: i.HigherIsBetter,
		Binary:         i.Binary,
		Needs:          same(i.Needs),
		Notes:          same(i.Notes),
		Parts:          same(i.Parts),
		ReadsText:      i.ReadsText,
		Reads:          each(i.Reads, patternToPB),
	}
}

func metricInfoFromPB(i *pb.MetricInfo) core.MetricInfo {
	return core.MetricInfo{
		Name:           i.GetName(),
		Profile:        core.Profile(i.GetProfile()),
		Low:            i.GetLow(),
		High:           i.GetHigh(),
		HigherIsBetter: i.GetHigherIsBetter(),
		Binary:         i.GetBinary(),
		Needs:          same(i.GetNeeds()),
		Notes:          same(i.GetNotes()),
		Parts:          same(i.GetParts()),
		ReadsText:      i.GetReadsText(),
		Reads:          each(i.GetReads(), patternFromPB),
	}
}

// itemToPB translates all but the task, whose place in the message is given.
func itemToPB(it *core.Item, task int) (*pb.Item, error) {
	fields, err := valuesToPB(it.Fields)
	if err != nil {
		return nil, fmt.Errorf("item %q: %w", it.ID, err)
	}
	return &pb.Item{
		Id:            it.ID,
		Task:          int64(task),
		Fields:        fields,
		Prompt:        it.Prompt,
		Raw:           it.Raw,
		Text:          it.Text,
		ExtractFailed: it.ExtractFailed,
		Targets:       same(it.Targets),
		Scores:        each(it.Scores, likelihoodToPB),
		Judged:        each(it.Judged, func(r core.Response) *pb.Response { return responseToPB(&r) }),
		Choices:       same(it.Choices),
		Gold:          each(it.Gold, intToPB),
	}, nil
}

func itemFromPB(it *pb.Item, tasks []*core.Task) core.Item {
	out := core.Item{
		ID:            it.GetId(),
		Fields:        valuesFromPB(it.GetFields()),
		Prompt:        it.GetPrompt(),
		Raw:           it.GetRaw(),
		Text:          it.GetText(),
		ExtractFailed: it.GetExtractFailed(),
		Targets:       same(it.GetTargets()),
		Scores:        each(it.GetScores(), likelihoodFromPB),
		Judged:        each(it.GetJudged(), responseFromPB),
		Choices:       same(it.GetChoices()),
		Gold:          each(it.GetGold(), intFromPB),
	}
	if n := it.GetTask(); n > 0 && n <= int64(len(tasks)) {
		out.Task = tasks[n-1]
	}
	return out
}

func scoreToPB(s core.Score) *pb.Score {
	return &pb.Score{
		Value:     s.Value,
		Extracted: s.Extracted,
		Failed:    s.Failed,
		Dropped:   s.Dropped,
		Skipped:   s.Skipped,
		Note:      s.Note,
		Warning:   s.Warning,
		Parts:     s.Parts,
		Requests:  each(s.Requests, func(r core.Request) *pb.Request { return requestToPB(&r) }),
	}
}

func scoreFromPB(s *pb.Score) core.Score {
	return core.Score{
		Value:     s.GetValue(),
		Extracted: s.GetExtracted(),
		Failed:    s.GetFailed(),
		Dropped:   s.GetDropped(),
		Skipped:   s.GetSkipped(),
		Note:      s.GetNote(),
		Warning:   s.GetWarning(),
		Parts:     s.GetParts(),
		Requests:  each(s.GetRequests(), requestFromPB),
	}
}

func aggregateToPB(a core.Aggregate) *pb.Aggregate {
	return &pb.Aggregate{
		Score:     a.Score,
		N:         int64(a.N),
		Low95:     a.Low95,
		High95:    a.High95,
		Method:    a.Method,
		Failed:    int64(a.Failed),
		Dropped:   int64(a.Dropped),
		Skipped:   int64(a.Skipped),
		NonFinite: int64(a.NonFinite),
		Skip:      a.Skip,
		StdErr:    a.StdErr,
	}
}

func aggregateFromPB(a *pb.Aggregate) core.Aggregate {
	return core.Aggregate{
		Score:     a.GetScore(),
		N:         int(a.GetN()),
		Low95:     a.GetLow95(),
		High95:    a.GetHigh95(),
		Method:    a.GetMethod(),
		Failed:    int(a.GetFailed()),
		Dropped:   int(a.GetDropped()),
		Skipped:   int(a.GetSkipped()),
		NonFinite: int(a.GetNonFinite()),
		Skip:      a.GetSkip(),
		StdErr:    a.GetStdErr(),
	}
}

func specToPB(s core.MetricSpec) (*pb.MetricSpec, error) {
	params, err := valuesToPB(s.Params)
	if err != nil {
		return nil, fmt.Errorf("metric %q: %w", s.Name, err)
	}
	return &pb.MetricSpec{Name: s.Name, Params: params, Extract: s.Extract, Reduce: s.Reduce, As: s.As}, nil
}

func specFromPB(s *pb.MetricSpec) core.MetricSpec {
	return core.MetricSpec{Name: s.GetName(), Params: valuesFromPB(s.GetParams()), Extract: s.GetExtract(), Reduce: s.GetReduce(), As: s.GetAs()}
}

func taskToPB(t *core.Task) (*pb.Task, error) {
	metrics := make([]*pb.MetricSpec, len(t.Metrics))
	for i, m := range t.Metrics {
		var err error
		if metrics[i], err = specToPB(m); err != nil {
			return nil, fmt.Errorf("task %q: %w", t.Name, err)
		}
	}
	shots, err := fewshotToPB(t.Fewshot)
	if err != nil {
		return nil, fmt.Errorf("task %q: %w", t.Name, err)
	}
	train, err := valuesToPB(t.Train)
	if err != nil {
		return nil, fmt.Errorf("task %q: train: %w", t.Name, err)
	}
	d := t.Dataset
	out := &pb.Task{
		Name:        t.Name,
		Description: t.Description,
		Category:    t.Category,
		Dataset: &pb.Dataset{
			Source:     d.Source,
			Config:     d.Config,
			Revision:   d.Revision,
			Split:      d.Split,
			TrainSplit: d.TrainSplit,
			Limit:      int64(d.Limit),
			Filter:     d.Filter,
			Local: &pb.LocalLayout{
				Folder: d.Local.Folder, Split: d.Local.Split, TrainSplit: d.Local.TrainSplit,
			},
		},
		Columns: each(t.Columns, func(c core.Column) *pb.Column {
			return &pb.Column{Name: c.Name, Expr: c.Expr}
		}),
		Prompt:      t.Prompt,
		Chat:        &pb.ChatForms{System: t.Chat.System, User: t.Chat.User},
		Target:      t.Target,
		Cluster:     t.Cluster,
		Labels:      same(t.Labels),
		Generation:  generationToPB(t.Generation),
		ForceLabels: t.ForceLabels,
		Extract:     each(t.Extract, stepToPB),
		Metrics:     same(metrics),
		Threshold:   t.Threshold,
		Fewshot:     shots,
		Paper:       &pb.Paper{Task: t.Paper.Task, Metric: t.Paper.Metric, Prompt: t.Paper.Prompt},
		Path:        t.Path,
		Source:      same(t.Source),

		Template: t.Template, Preamble: t.Preamble, Choices: choicesToPB(t.Choices), TargetDelimiter: t.TargetDelimiter,
		Pipelines: each(t.Pipelines, func(p core.Pipeline) *pb.Pipeline {
			return &pb.Pipeline{Name: p.Name, Steps: each(p.Steps, stepToPB)}
		}),
		Repeats: int64(t.Repeats), Train: train,
	}
	if len(d.Files) > 0 {
		out.Dataset.Files = make(map[string]*pb.Texts, len(d.Files))
		for k, v := range d.Files {
			out.Dataset.Files[k] = &pb.Texts{Texts: same(v)}
		}
	}
	if len(t.Chat.Families) > 0 {
		out.Chat.Families = make(map[string]*pb.ChatForm, len(t.Chat.Families))
		for k, f := range t.Chat.Families {
			out.Chat.Families[k] = &pb.ChatForm{System: f.System, User: f.User}
		}
	}
	return out, nil
}

func taskFromPB(t *pb.Task) *core.Task {
	d := t.GetDataset()
	out := &core.Task{
		Name:        t.GetName(),
		Description: t.GetDescription(),
		Category:    t.GetCategory(),
		Dataset: core.Dataset{
			Source:     d.GetSource(),
			Config:     d.GetConfig(),
			Revision:   d.GetRevision(),
			Split:      d.GetSplit(),
			TrainSplit: d.GetTrainSplit(),
			Limit:      int(d.GetLimit()),
			Filter:     d.GetFilter(),
			Local: core.LocalLayout{
				Folder: d.GetLocal().GetFolder(), Split: d.GetLocal().GetSplit(), TrainSplit: d.GetLocal().GetTrainSplit(),
			},
		},
		Columns: each(t.GetColumns(), func(c *pb.Column) core.Column {
			return core.Column{Name: c.GetName(), Expr: c.GetExpr()}
		}),
		Prompt:      t.GetPrompt(),
		Chat:        core.Chat{System: t.GetChat().GetSystem(), User: t.GetChat().GetUser()},
		Target:      t.GetTarget(),
		Cluster:     t.GetCluster(),
		Labels:      same(t.GetLabels()),
		Generation:  generationFromPB(t.GetGeneration()),
		ForceLabels: t.GetForceLabels(),
		Extract:     each(t.GetExtract(), stepFromPB),
		Metrics:     each(t.GetMetrics(), specFromPB),
		Threshold:   t.Threshold,
		Fewshot:     fewshotFromPB(t.GetFewshot()),
		Paper:       core.Paper{Task: t.GetPaper().GetTask(), Metric: t.GetPaper().GetMetric(), Prompt: t.GetPaper().GetPrompt()},
		Path:        t.GetPath(),
		Source:      same(t.GetSource()),

		Template: t.GetTemplate(), Preamble: t.GetPreamble(), Choices: choicesFromPB(t.GetChoices()), TargetDelimiter: t.TargetDelimiter,
		Pipelines: each(t.GetPipelines(), func(p *pb.Pipeline) core.Pipeline {
			return core.Pipeline{Name: p.GetName(), Steps: each(p.GetSteps(), stepFromPB)}
		}),
		Repeats: int(t.GetRepeats()), Train: valuesFromPB(t.GetTrain()),
	}
	if f := d.GetFiles(); len(f) > 0 {
		out.Dataset.Files = make(map[string][]string, len(f))
		for k, v := range f {
			out.Dataset.Files[k] = same(v.GetTexts())
		}
	}
	if f := t.GetChat().GetFamilies(); len(f) > 0 {
		out.Chat.Families = make(map[string]core.ChatForm, len(f))
		for k, v := range f {
			out.Chat.Families[k] = core.ChatForm{System: v.GetSystem(), User: v.GetUser()}
		}
	}
	return out
}

func intToPB(n int) int64 { return int64(n) }

func intFromPB(n int64) int { return int(n) }

func stepToPB(s core.Step) *pb.Step {
	return &pb.Step{
		Op: s.Op, Pattern: s.Pattern, Flags: s.Flags, Group: int64(s.Group), Select: int64(s.Select),
		Text: s.Text, Map: s.Map, Line: int64(s.Line), Column: int64(s.Column),
	}
}

func stepFromPB(s *pb.Step) core.Step {
	return core.Step{
		Op: s.GetOp(), Pattern: s.GetPattern(), Flags: s.GetFlags(), Group: int(s.GetGroup()), Select: int(s.GetSelect()),
		Text: s.GetText(), Map: s.GetMap(), Line: int(s.GetLine()), Column: int(s.GetColumn()),
	}
}

func choicesToPB(c core.Choices) *pb.Choices {
	return &pb.Choices{From: c.From, List: same(c.List)}
}

func choicesFromPB(c *pb.Choices) core.Choices {
	return core.Choices{From: c.GetFrom(), List: same(c.GetList())}
}

func fewshotToPB(f core.Fewshot) (*pb.Fewshot, error) {
	out := &pb.Fewshot{
		Count: int64(f.Count), Sampler: f.Sampler, Seed: f.Seed, Separator: f.Separator,
		Split: f.Split, Indices: each(f.Indices, intToPB), Prompt: f.Prompt, Target: f.Target,
		Choices: choicesToPB(f.Choices), TargetDelimiter: f.TargetDelimiter,
	}
	for _, row := range f.Rows {
		fields, err := valuesToPB(row)
		if err != nil {
			return nil, err
		}
		out.Rows = append(out.Rows, &pb.Row{Fields: fields})
	}
	return out, nil
}

func fewshotFromPB(f *pb.Fewshot) core.Fewshot {
	return core.Fewshot{
		Count: int(f.GetCount()), Sampler: f.GetSampler(), Seed: f.GetSeed(), Separator: f.GetSeparator(),
		Split: f.GetSplit(), Indices: each(f.GetIndices(), intFromPB), Prompt: f.GetPrompt(), Target: f.GetTarget(),
		Choices: choicesFromPB(f.GetChoices()), TargetDelimiter: optionalText(f),
		Rows: each(f.GetRows(), func(r *pb.Row) map[string]any { return valuesFromPB(r.GetFields()) }),
	}
}

func optionalText(f *pb.Fewshot) *string {
	if f == nil {
		return nil
	}
	return f.TargetDelimiter
}

func valuesToPB(m map[string]any) (map[string]*pb.Value, error) {
	if len(m) == 0 {
		return nil, nil
	}
	out := make(map[string]*pb.Value, len(m))
	for k, v := range m {
		w, err := valueToPB(v, 0)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", k, err)
		}
		out[k] = w
	}
	return out, nil
}

func valuesFromPB(m map[string]*pb.Value) map[string]any {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = valueFromPB(v)
	}
	return out
}

// maxDepth bounds the nesting of a value: a deeper one is a defect (or a
// cycle), and protobuf readers refuse it anyhow.
const maxDepth = 64

// valueToPB translates a cell. Integers of every width arrive as int (as
// uint64 where they are too large for it), float32 as float64, lists of any
// element type as []any, maps with string keys as map[string]any, times as
// RFC 3339 text. Anything else is an error that names its type.
func valueToPB(v any, depth int) (*pb.Value, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("value nested more than %d deep", maxDepth)
	}
	switch v := v.(type) {
	case nil:
		return &pb.Value{Kind: &pb.Value_Null{Null: true}}, nil
	case []byte:
		return &pb.Value{Kind: &pb.Value_Data{Data: v}}, nil
	case time.Time:
		return &pb.Value{Kind: &pb.Value_Text{Text: v.Format(time.RFC3339Nano)}}, nil
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return &pb.Value{Kind: &pb.Value_Integer{Integer: n}}, nil
		}
		f, err := v.Float64()
		if err != nil {
			return nil, fmt.Errorf("number %q: %w", v.String(), err)
		}
		return &pb.Value{Kind: &pb.Value_Number{Number: f}}, nil
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Bool:
		return &pb.Value{Kind: &pb.Value_Boolean{Boolean: r.Bool()}}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &pb.Value{Kind: &pb.Value_Integer{Integer: r.Int()}}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if u := r.Uint(); u > math.MaxInt64 {
			return &pb.Value{Kind: &pb.Value_Unsigned{Unsigned: u}}, nil
		}
		return &pb.Value{Kind: &pb.Value_Integer{Integer: int64(r.Uint())}}, nil
	case reflect.Float32, reflect.Float64:
		return &pb.Value{Kind: &pb.Value_Number{Number: r.Float()}}, nil
	case reflect.String:
		return &pb.Value{Kind: &pb.Value_Text{Text: r.String()}}, nil
	case reflect.Slice, reflect.Array:
		list := &pb.List{Values: make([]*pb.Value, r.Len())}
		for i := range list.Values {
			w, err := valueToPB(r.Index(i).Interface(), depth+1)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			list.Values[i] = w
		}
		return &pb.Value{Kind: &pb.Value_List{List: list}}, nil
	case reflect.Map:
		if r.Type().Key().Kind() != reflect.String {
			break
		}
		dict := &pb.Dict{Values: make(map[string]*pb.Value, r.Len())}
		for iter := r.MapRange(); iter.Next(); {
			w, err := valueToPB(iter.Value().Interface(), depth+1)
			if err != nil {
				return nil, fmt.Errorf("[%q]: %w", iter.Key().String(), err)
			}
			dict.Values[iter.Key().String()] = w
		}
		return &pb.Value{Kind: &pb.Value_Dict{Dict: dict}}, nil
	case reflect.Pointer:
		if r.IsNil() {
			return &pb.Value{Kind: &pb.Value_Null{Null: true}}, nil
		}
		return valueToPB(r.Elem().Interface(), depth+1)
	}
	return nil, fmt.Errorf("a value of Go type %T cannot cross to a plugin", v)
}

func valueFromPB(v *pb.Value) any {
	switch k := v.GetKind().(type) {
	case *pb.Value_Boolean:
		return k.Boolean
	case *pb.Value_Integer:
		return int(k.Integer)
	case *pb.Value_Unsigned:
		return k.Unsigned
	case *pb.Value_Number:
		return k.Number
	case *pb.Value_Text:
		return k.Text
	case *pb.Value_Data:
		return k.Data
	case *pb.Value_List:
		out := make([]any, len(k.List.GetValues()))
		for i, w := range k.List.GetValues() {
			out[i] = valueFromPB(w)
		}
		return out
	case *pb.Value_Dict:
		out := make(map[string]any, len(k.Dict.GetValues()))
		for key, w := range k.Dict.GetValues() {
			out[key] = valueFromPB(w)
		}
		return out
	}
	return nil
}

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/extract"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/core/run"
)

type askFlags struct {
	evalFlags
	task      string
	fields    []string
	maxTokens int
	show      bool
}

func newAsk() *cobra.Command {
	f := &askFlags{}
	cmd := &cobra.Command{
		Use:   "ask TEXT",
		Short: "put one free input through a task's prompt, a model and the task's extraction",
		Long: "Ask sends one input the same way as an evaluation does. With --task the text takes\n" +
			"the place of the prompt's column; a prompt of several columns takes --field name=value\n" +
			"for each. Without --task the text is the prompt. TEXT - reads standard input.",
		Example: "  evalrun ask --task glue_sst2 'a warm, funny and generous film'\n" +
			"  evalrun ask --task boolq --field passage='Otters swim well.' --field question='do otters swim?'",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runAsk(cmd, args, f) },
	}
	fl := cmd.Flags()
	f.registerModel(fl)
	fl.StringArrayVar(&f.set, "set", nil, "override a key of the task file, key=value; repeatable")
	fl.StringVar(&f.task, "task", "", "task file or embedded task whose prompt is used")
	fl.StringArrayVar(&f.fields, "field", nil, "a column of the prompt, name=value; repeatable")
	fl.IntVar(&f.maxTokens, "max-tokens", 0, "most tokens of the answer (default: the task's, else 256)")
	fl.BoolVar(&f.show, "show", false, "print the prompt as sent, too")
	fl.BoolVar(&f.json, "json", false, "one JSON object with prompt, answer, extraction and counts")
	_ = cmd.RegisterFlagCompletionFunc("task", completeTasks)
	return cmd
}

// asked is what --json prints.
type asked struct {
	Model     string         `json:"model"`
	Prompt    string         `json:"prompt,omitempty"`
	Messages  []core.Message `json:"messages,omitempty"`
	Answer    string         `json:"answer"`
	Extracted *string        `json:"extracted,omitempty"`
	Finish    string         `json:"finish"`
	Usage     core.Usage     `json:"usage"`
	Seconds   float64        `json:"seconds"`
	CostUSD   float64        `json:"cost_usd"`
}

func runAsk(cmd *cobra.Command, args []string, f *askFlags) error {
	text := ""
	if len(args) == 1 {
		text = args[0]
	}
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(os.Stdin, 16<<20))
		if err != nil {
			return err
		}
		// As in a shell's $(…): the line end that closes a text is none of its own.
		text = strings.TrimRight(string(b), "\r\n")
	}
	job, sample, err := f.sample(text, len(args) == 1)
	if err != nil {
		return err
	}
	models, err := f.mainModels()
	if err != nil {
		return err
	}
	if err := f.heeded(models...); err != nil {
		return err
	}
	if err := adapterFolders(models); err != nil {
		return err
	}
	host := newHost(false)
	defer host.Close()
	if err := knownBackend(f.backend, backendNames(host)); err != nil {
		return err
	}
	if err := checkConfigs(models); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM) // nothing is to be saved
	defer stop()
	for _, spec := range models {
		if err := localModel(ctx, hubClient(os.Stderr, false), &spec); err != nil {
			return err
		}
		b, err := open(ctx, host, spec, openOptions{cache: "off"})
		if err != nil {
			return err
		}
		defer b.Close()
		job.Adapter, job.Family = spec.Adapter, b.info.Family
		job.Form = formFor(b.info)
		req, err := job.Request(sample, 0)
		if err != nil {
			return err
		}
		if f.maxTokens > 0 {
			req.Generation.MaxTokens = f.maxTokens
		}
		session, err := b.Open(ctx)
		if err != nil {
			return err
		}
		answer, err := askOne(session, req)
		session.Close()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		if err := f.print(cmd.OutOrStdout(), spec, job, req, answer); err != nil {
			return err
		}
	}
	return nil
}

// sample makes the task's job and one sample of the input; without a task the
// text is the whole prompt.
func (f *askFlags) sample(text string, given bool) (*run.Job, *core.Sample, error) {
	fields := map[string]any{}
	for _, p := range f.fields {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, nil, &core.UserError{Where: "--field " + p, Message: "not of the form name=value", Hint: "for example --field question='…'"}
		}
		fields[k] = v
	}
	if f.task == "" {
		if !given {
			return nil, nil, &core.UserError{Message: "nothing to ask", Hint: "evalrun ask 'your text', or --task NAME with a text or --field name=value"}
		}
		task := &core.Task{Name: "ask", Prompt: "{text}", Generation: core.Generation{MaxTokens: 256}}
		return &run.Job{Task: task}, &core.Sample{ID: "0", Prompt: text, Fields: map[string]any{"text": text}}, nil
	}
	files, err := f.load([]string{f.task})
	if err != nil {
		return nil, nil, err
	}
	task := files[0].Task
	if task.Template != "" {
		return nil, nil, &core.UserError{Where: files[0].Where("template"), Message: "ask fills templates of format only", Hint: "evalrun validate --show prints the prompts of this task"}
	}
	tmpl, err := prompt.Parse(task.Prompt)
	if err != nil {
		return nil, nil, err
	}
	var missing []string
	for _, c := range tmpl.Columns() {
		if _, ok := fields[c.Name]; !ok {
			missing = append(missing, c.Name)
		}
	}
	if given && len(missing) == 1 {
		fields[missing[0]] = text
		missing = nil
	}
	if len(missing) > 0 {
		return nil, nil, &core.UserError{Where: files[0].Where("prompt"), Message: "the prompt needs " + strings.Join(missing, ", "),
			Hint: "give each as --field name=value; the text takes the last one's place"}
	}
	rendered, err := tmpl.Render(fields)
	if err != nil {
		return nil, nil, err
	}
	return &run.Job{Task: task}, &core.Sample{ID: "0", Prompt: rendered, Fields: fields}, nil
}

// askOne sends one request and waits for its end.
func askOne(s core.Session, req core.Request) (*core.Response, error) {
	if err := s.Send(req); err != nil {
		return nil, err
	}
	for ev, err := range s.Events() {
		if err != nil {
			return nil, err
		}
		switch ev.Kind {
		case core.EventResponse:
			return ev.Response, nil
		case core.EventError:
			return nil, ev.Err
		}
	}
	return nil, core.ErrSessionClosed
}

func (f *askFlags) print(w io.Writer, spec modelSpec, job *run.Job, req core.Request, r *core.Response) error {
	a := asked{Model: spec.Label, Prompt: req.Prompt, Messages: req.Messages, Answer: r.Text, Finish: string(r.Finish), Usage: r.Usage,
		Seconds: r.Seconds, CostUSD: r.CostUSD}
	if len(job.Task.Extract) > 0 {
		p, err := extract.New(job.Task.Extract)
		if err != nil {
			return err
		}
		if t, ok := p.Apply(r.Text); ok {
			a.Extracted = &t
		}
	}
	if f.json {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(a)
	}
	if f.show {
		for _, m := range a.Messages {
			fmt.Fprintf(w, "[%s] %s\n", m.Role, m.Content)
		}
		fmt.Fprintln(w, a.Prompt)
		fmt.Fprintln(w, "---")
	}
	_, err := fmt.Fprintln(w, strings.TrimSpace(printable(a.Answer)))
	if a.Extracted != nil && strings.TrimSpace(*a.Extracted) != strings.TrimSpace(a.Answer) {
		fmt.Fprintf(w, "extracted: %s\n", printable(*a.Extracted))
	}
	note := ""
	if r.Finish == core.FinishLength {
		note = ", cut at the token limit"
	}
	if spec.Demo && f.task == "" {
		fmt.Fprintln(os.Stderr, "the demonstration model knows the embedded tasks' prompts and little else: --task NAME uses one, --model another model")
	}
	fmt.Fprintf(os.Stderr, "%s: %d + %d tokens, %.2f s%s\n", spec.Label, r.Usage.Prompt, r.Usage.Completion, r.Seconds, note)
	return err
}

// printable keeps control characters of a model's answer from the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}

// formFor is the form of input that a backend prefers.
func formFor(i core.Info) core.Form {
	if len(i.Forms) > 0 {
		return i.Forms[0]
	}
	return core.FormCompletion
}

package local

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/train"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/memory"
	"github.com/evalrun/evalrun/kernels"
)

// plan reckons the memory and refuses what does not fit: the plan then comes
// with the error.
func (t *training) plan() (*core.TrainPlan, error) {
	r := &t.recipe
	job := &train.Job{Recipe: r, Examples: t.data.Examples}
	if t.held != nil {
		job.Validation = t.held.Examples
	}
	t.extent = job.Measure()
	answering, err := t.planAnswering()
	if err != nil {
		return nil, &core.UserError{Where: "answers to validation rows", Message: err.Error(), Hint: "--opt context=N and --opt kv_mb=N bound them as in an evaluation; --set recipe.monitor=loss needs none"}
	}
	t.extent.Context = max(t.extent.Longest, t.answering.Context)
	b := t.budget()
	limit := b.limit // what is left for the device
	if limit > 0 {
		limit = max(1, limit-b.base()-answering)
	}
	m, err := train.PlanOf(func() kernels.Outline { return kernels.OutlineOf(t.dev) }, t.config, t.file, t.options, r, t.extent, limit)
	if err != nil {
		return nil, &core.UserError{Where: "recipe", Message: err.Error(), Hint: "targets names linear modules of the model, such as q_proj, or all-linear"}
	}
	t.memory = m
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	p := &core.TrainPlan{
		Recipe: string(text), Examples: len(t.data.Examples), Validation: len(job.Validation),
		Truncated: t.data.Truncated, Cut: t.data.Cut, Left: t.data.Left, PromptTokens: r.PromptTokens, TotalTokens: r.TotalTokens,
		Parameters: m.Parameters, Steps: r.Steps, Updates: t.extent.Updates, Recompute: m.Recompute,
	}
	total := int64(0)
	part := func(name string, bytes int64) {
		if bytes > 0 {
			p.Memory = append(p.Memory, core.MemoryPart{Name: b.prefix + name, Bytes: bytes})
			total += bytes
		}
	}
	part("program and tokenizer", b.program)
	part("rows as tokens", b.rows)
	part("weights", m.Weights)
	part("embeddings looked up in the file", m.Table)
	part("adapter and gradients", m.Adapter)
	part("optimiser", m.Optimiser)
	part("activations", m.Activations)
	part("logits", m.Logits)
	part("decoded weights", m.Decoded)
	part("scratch of the device", m.Scratch)
	if answering > 0 {
		part("answers to validation rows", answering+8*m.Parameters)
	}
	part("a checkpoint on its way", m.Checkpoint)
	part("garbage before it is collected", b.garbage(m.Total()))
	if more := memory.Peak() - total; !b.apart && more > 0 {
		part("more while the rows were read", more)
	}
	if sketch, err := arch.Sketch(t.config, t.options); err == nil {
		p.Model = sketch.Parameters()
	}
	p.Batch = t.batch(job)
	if m := memory.Here(); !b.apart && t.job.Memory > 0 && total <= b.limit && m.Usable() > 0 && total > m.Usable() {
		slog.Warn(tooLarge(total, m))
	}
	if b.limit > 0 && total > b.limit {
		err := &core.UserError{Where: "memory", Message: fmt.Sprintf("the plan needs %s, and %s %s: weights %s, activations %s, logits %s", mib(total), mib(b.limit), b.where, mib(m.Weights), mib(m.Activations), mib(m.Logits)),
			Hint: t.smaller(m, total-b.limit, b.group)}
		return p, err
	}
	return p, nil
}

// smaller tells what would take less. group is the file of the limit, where a
// group's counts.
func (t *training) smaller(m *train.Plan, over int64, group string) string {
	var ways []string
	if r := &t.recipe; m.Weights > over && r.Quant == "none" {
		ways = append(ways, "quantise the base with quant=nf4")
	}
	if n := t.recipe.Batch; n > 1 {
		ways = append(ways, fmt.Sprintf("lower batch, which is %d", n))
	}
	if n := t.recipe.Accumulate; n > 1 {
		ways = append(ways, fmt.Sprintf("lower accumulate, which is %d", n))
	}
	ways = append(ways, fmt.Sprintf("lower total_tokens, the longest example has %d", t.extent.Longest))
	if _, gpu := t.dev.(interface{ Memory() (free, total int64) }); gpu && t.job.Memory == 0 {
		return strings.Join(append(ways, "take a smaller model, or free the GPU's memory: nvidia-smi says who has it"), "; ")
	}
	if group != "" {
		return strings.Join(append(ways, "take a smaller model", "give the container more memory (`evalrun doctor` says which limit counts)"), "; ")
	}
	ways = append(ways, "take a smaller model or a larger --memory")
	return strings.Join(ways, "; ")
}

// budget is what a training takes besides the plan of its device, and what all
// of it may take.
type budget struct {
	program, rows int64
	limit         int64 // 0 is not known
	where, prefix string
	group         string // the file that limits this process's group, where that counts
	apart         bool   // the device has memory of its own, which the plan is of
}

// budget looks at the process as it is before anything is loaded: its own
// code, the tokenizer and the rows stay as they are.
func (t *training) budget() budget {
	if gpu, ok := t.dev.(interface{ Memory() (free, total int64) }); ok {
		b := budget{apart: true, prefix: "GPU: ", where: "are free on the GPU"}
		if b.limit, _ = gpu.Memory(); t.job.Memory > 0 {
			b.limit, b.where = t.job.Memory, "may be used"
		}
		return b
	}
	debug.FreeOSMemory() // the text of the rows is not needed any more
	b := budget{limit: t.job.Memory, where: "may be used"}
	if b.limit == 0 {
		b.share(memory.Here())
	}
	for _, e := range []*train.Encoded{t.data, t.held} {
		if e != nil {
			b.rows += e.Bytes()
		}
	}
	b.program = max(0, memory.Resident()+growth-b.rows)
	return b
}

// share bounds a training by nine tenths of what there is: of the machine, or
// of what a container's limit leaves of it, above which the kernel ends the
// process.
func (b *budget) share(m memory.Sizes) {
	b.limit, b.group = m.Usable()*9/10, m.File
	if b.where = "may be used"; m.Limit > 0 {
		b.where = fmt.Sprintf("may be used, nine tenths of the %s of %s", mib(m.Limit), m.File)
	}
}

// tooLarge says that a plan, which --memory allows, is more than there is.
func tooLarge(total int64, m memory.Sizes) string {
	if m.Limit > 0 {
		return fmt.Sprintf("the plan needs %s, and %s allows %s: the kernel ends a process that takes more", mib(total), m.File, mib(m.Limit))
	}
	return fmt.Sprintf("the plan needs %s, and the machine has %s", mib(total), mib(m.Total))
}

// growth is the code and the stacks that come in once a training runs.
const growth = 4 << 20

// base is what does not depend on the plan of the device.
func (b *budget) base() int64 { return b.program + b.rows + b.garbage(0) }

func (b *budget) garbage(planned int64) int64 {
	if b.apart {
		return 0
	}
	return max(garbage, (planned+b.rows)/100)
}

// percent is the collector's setting for so much garbage.
func (t *training) percent() int {
	b := budget{}
	total := t.memory.Total() + t.data.Bytes()
	return int(max(1, 100*b.garbage(total)/max(total, 1)))
}

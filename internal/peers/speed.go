package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/internal/trainlog"
)

// A shape is a Llama model for timing.
type shape struct {
	name                                string
	hidden, mlp, layers, heads, kv, dim int
	vocab                               int
}

var (
	demoShape = shape{"demonstration model, 4M", 256, 512, 6, 4, 2, 64, 2048}
	large     = shape{"random Llama, 134M", 768, 2048, 12, 12, 12, 64, 32000}
)

// flops are the operations a token that a training of adapters cannot do
// without: products with the linear weights forward and with their transposes
// back (4 a weight), and causal attention (2·T·q a layer forward, 5 back). The
// head's are left out: they depend on how many labels are judged.
func (s shape) flops(tokens int) float64 {
	q, kv := s.heads*s.dim, s.kv*s.dim
	weights := s.layers * (s.hidden*(2*q+2*kv) + 3*s.hidden*s.mlp)
	return 4*float64(weights) + 3.5*2*float64(tokens*q*s.layers)
}

// A timing is one setting of a training that both sides do.
type timing struct {
	shape
	tokens, window int // of an example, and examples an update
	windows        int // timed in a turn
	quant, compute string
	padded         bool // PEFT is timed with the window as one padded batch too
}

func timings() []timing {
	return []timing{
		{demoShape, 72, 16, 12, "nf4", "f32", true},
		{demoShape, 512, 16, 3, "nf4", "f32", true},
		{large, 200, 4, 2, "nf4", "f32", true},
		{large, 512, 4, 2, "nf4", "f32", false},
		{large, 512, 4, 2, "none", "f32", false},
	}
}

// speed times both sides in turns on the same examples, windows and threads.
func (p *peers) speed() error {
	if err := p.needPEFT(); err != nil {
		return err
	}
	threads := p.threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p.quant = "none"
	small, err := p.base()
	if err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err == nil {
		fmt.Printf("%d threads, load before %s\n", threads, strings.TrimSpace(string(load)))
	}
	if err := p.ceilings(); err != nil {
		return err
	}
	fmt.Println("| model | T | window | base, compute | side | tokens/s, turn by turn | median | GFLOP/s of needed work | tokens a processor second | GFLOP/s so |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, t := range timings() {
		if !strings.Contains(fmt.Sprintf("%s, T %d, %s", t.name, t.tokens, t.quant), p.only) {
			continue
		}
		folder := small
		if t.name == large.name {
			s := t.shape
			folder, err = p.once("large", "random", map[string]any{"tokenizer": small, "seed": 1, "config": map[string]any{"vocab_size": s.vocab, "hidden_size": s.hidden, "intermediate_size": s.mlp,
				"num_hidden_layers": s.layers, "num_attention_heads": s.heads, "num_key_value_heads": s.kv, "max_position_embeddings": 2048, "tie_word_embeddings": false}})
			if err != nil {
				return err
			}
		}
		if err := p.time(folder, t); err != nil {
			return fmt.Errorf("%s, T %d: %w", t.name, t.tokens, err)
		}
	}
	return nil
}

// ceilings prints what the machine's arithmetic reaches: evalrun's own measure
// of multiply-adds in registers, and torch's products of matrices.
func (p *peers) ceilings() error {
	out, err := p.evalrun(nil, "doctor", "--json")
	if err != nil {
		return err
	}
	var d struct {
		CPU     struct{ Model string }
		Path    string
		Ceiling struct {
			Flops float64 `json:"gflop_s"`
		}
	}
	if err := json.Unmarshal(out, &d); err != nil {
		return err
	}
	fmt.Printf("%s, path %s: multiply-adds in registers %.0f GFLOP/s (evalrun doctor)\n", d.CPU.Model, d.Path, d.Ceiling.Flops)
	type product struct {
		Type   string
		Gflops float64
	}
	products, err := reference[product](p, "ceiling", map[string]any{"size": 1024})
	for _, x := range products {
		fmt.Printf("torch, product of 1024 × 1024 in %s: %.0f GFLOP/s\n", x.Type, x.Gflops)
	}
	return err
}

// A turn is what one side did: tokens by the clock's seconds and by those of
// processors. The latter hardly depend on what else the machine does.
type turn struct{ seconds, cpu float64 }

// time prints a line for each side.
func (p *peers) time(folder string, t timing) error {
	rows := p.at("rows.jsonl")
	if err := os.WriteFile(rows, timingRows(t), 0o600); err != nil {
		return err
	}
	sides := []string{"evalrun", "PEFT, one at a time"}
	if t.padded {
		sides = append(sides, "PEFT, padded batch")
	}
	rates := make([][]turn, len(sides))
	for range p.rounds {
		// Loading is in the processor's time: a training of one window has it too.
		_, _, loading, err := p.timeOurs(folder, rows, t, 1)
		if err != nil {
			return err
		}
		tokens, r, busy, err := p.timeOurs(folder, rows, t, 1+t.windows)
		if err != nil {
			return err
		}
		r.cpu = float64(tokens) * float64(t.windows) / float64(1+t.windows) / (busy - loading)
		rates[0] = append(rates[0], r)
		for i := range sides[1:] {
			if p.batch = 1; i == 1 {
				p.batch = t.window
			}
			windows, err := p.reference(folder, p.at("speed-ours"), p.at("speed-start"), "", "--train", rows)
			if err != nil {
				return err
			}
			n, seconds, cpu := 0, 0.0, 0.0
			for _, w := range windows {
				n, seconds, cpu = n+w.Tokens, seconds+w.Seconds, cpu+w.CPU
			}
			if n != tokens {
				return fmt.Errorf("%d tokens, and %d with PEFT", tokens, n)
			}
			rates[1+i] = append(rates[1+i], turn{float64(n) / seconds, float64(n) / cpu})
		}
	}
	for i, side := range sides {
		var each []string
		var clock, cpu []float64
		for _, r := range rates[i] {
			each = append(each, fmt.Sprintf("%.0f", r.seconds))
			clock, cpu = append(clock, r.seconds), append(cpu, r.cpu)
		}
		slices.Sort(clock)
		slices.Sort(cpu)
		middle := len(clock) / 2
		work := t.flops(t.tokens) / 1e9
		fmt.Printf("| %s | %d | %d | %s, %s | %s | %s | %.0f | %.1f | %.0f | %.1f |\n", t.name, t.tokens, t.window, t.quant, t.compute, side,
			strings.Join(each, " "), clock[middle], clock[middle]*work, cpu[middle], cpu[middle]*work)
	}
	return nil
}

// timeOurs trains on some windows: tokens, their rate by the clock, and the
// processor's seconds of the whole command.
func (p *peers) timeOurs(folder, rows string, t timing, windows int) (tokens int, r turn, busy float64, err error) {
	out := p.at("speed-ours")
	if err := os.RemoveAll(out); err != nil {
		return 0, r, 0, err
	}
	args := []string{"train", "--train", rows, "--model", folder, "--steps", fmt.Sprint(windows * t.window), "--out", out, "--quiet", "--json"}
	for _, s := range []string{"dropout=0", "compute=" + t.compute, "quant=" + t.quant, fmt.Sprint("accumulate=", t.window), fmt.Sprint("prompt_tokens=", t.tokens-10), fmt.Sprint("total_tokens=", t.tokens)} {
		args = append(args, "--set", "recipe."+s)
	}
	if p.threads > 0 {
		args = append(args, "--opt", fmt.Sprint("threads=", p.threads))
	}
	text, err := p.evalrun(nil, args...)
	if err != nil {
		return 0, r, 0, err
	}
	busy = p.cpu
	var end struct{ Seconds float64 }
	if err := json.Unmarshal(text, &end); err != nil {
		return 0, r, 0, err
	}
	if text, err = os.ReadFile(filepath.Join(out, "training", trainlog.File)); err != nil {
		return 0, r, 0, err
	}
	log, err := lines[trainlog.Line](text)
	for _, w := range log {
		tokens += w.Tokens
	}
	return tokens, turn{seconds: float64(tokens) / end.Seconds}, busy, err
}

// timingRows are long texts of made-up words: the recipe's limits cut all to
// the same length.
func timingRows(t timing) []byte {
	rng := rand.New(rand.NewPCG(9, uint64(t.tokens)))
	syllables := strings.Fields("ba con dri el fo gar hin is jo ka lum mar no or per qui ra sel to un ver wa xi ye zo")
	var b strings.Builder
	for i := range 4 * t.window {
		var text strings.Builder
		for text.Len() < 5*t.tokens {
			for range 1 + rng.IntN(3) {
				text.WriteString(syllables[rng.IntN(len(syllables))])
			}
			text.WriteByte(' ')
		}
		fmt.Fprintf(&b, "{\"id\": \"r%d\", \"prompt\": %q, \"completion\": \" %s\"}\n", i, text.String(), syllables[i%len(syllables)])
	}
	return []byte(b.String())
}

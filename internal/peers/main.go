// Command peers holds trainings and adapters to the programs that others use
// for them, which it runs beside the built evalrun:
//
//	go run ./internal/peers [flags] logits   PEFT loads an adapter: the same logits
//	go run ./internal/peers [flags] train    PEFT does the same training: the same losses, the same answers
//	go run ./internal/peers [flags] speed    PEFT and evalrun train in turns: tokens a second
//	go run ./internal/peers [flags] llama    llama.cpp loads an exported adapter: the same answers
//	go run ./internal/peers [flags] gguf     the Python package gguf reads an exported adapter
//	go run ./internal/peers [flags] events   TensorBoard reads a training's events
//
//	go run ./internal/peers [flags] all      train, llama, events and speed, as far as their packages are there
//
// qlora.py runs alone, on a machine with a GPU: its head says how.
//
// They are Python packages and no part of this repository: where they are
// missing it says so and ends with 1 (all goes on). docs/train.md has the
// commands, and the versions that they were tried with.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// options are the flags, for all verbs.
type options struct {
	bin, python           string
	model, adapter, quant string
	tasks, data, set      string
	preset                string
	steps, batch, rows    int
	threads, rounds       int
	keep, only            string
}

// verbs by name; "all" is several of them.
var verbs = map[string]func(*peers) error{
	"logits": (*peers).logits, "train": (*peers).train, "speed": (*peers).speed, "llama": (*peers).llama, "gguf": (*peers).gguf, "events": (*peers).events, "all": all,
}

// errMissing says that Python or a package is not there.
var errMissing = errors.New("nothing was checked")

func all(p *peers) error {
	o := p.options
	for _, verb := range []func(*peers) error{(*peers).train, (*peers).llama, (*peers).events, (*peers).speed} {
		p.options = o
		if err := verb(p); errors.Is(err, errMissing) {
			fmt.Println(err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func main() {
	var o options
	flag.StringVar(&o.bin, "evalrun", "./evalrun", "the program under test")
	flag.StringVar(&o.python, "python", "python3", "interpreter that has the packages")
	flag.StringVar(&o.model, "model", "", "base: a Hugging Face folder or a .gguf file (default: the demonstration model)")
	flag.StringVar(&o.adapter, "adapter", "", "adapter: a folder (logits, llama, gguf, events)")
	flag.StringVar(&o.quant, "quant", "none", "how the base is held: none or nf4 (logits, train, speed)")
	flag.StringVar(&o.tasks, "tasks", "glue_sst2,glue_stsb,conllpp,e2e_nlg", "tasks to train on (train)")
	flag.StringVar(&o.data, "data", "../shared/data", "folder of their rows; embedded ones where it is not there (train)")
	flag.StringVar(&o.preset, "preset", "paper", "recipe to start from (train)")
	flag.StringVar(&o.set, "set", "lr=2e-3", "further settings of the recipe, with commas (train)")
	flag.IntVar(&o.steps, "steps", 4800, "micro-batches (train)")
	flag.IntVar(&o.batch, "batch", 16, "examples that PEFT takes at once, padded (train)")
	flag.IntVar(&o.rows, "rows", 500, "evaluation rows a task (train)")
	flag.IntVar(&o.threads, "threads", 0, "threads of both sides (default: all; PEFT's suffer where other programs run)")
	flag.IntVar(&o.rounds, "rounds", 3, "turns of each side (speed)")
	flag.StringVar(&o.only, "only", "", "time only what holds this text, as 4M or 134M (speed)")
	flag.StringVar(&o.keep, "keep", "", "folder for what is made on the way (default: a temporary one)")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: peers [flags] logits|train|speed|llama|gguf|events|all")
		flag.PrintDefaults()
	}
	flag.Parse()
	verb := verbs[flag.Arg(0)]
	if flag.NArg() != 1 || verb == nil {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(o, verb); err != nil {
		fmt.Fprintf(os.Stderr, "peers: %s\n", strings.TrimSpace(err.Error()))
		os.Exit(1)
	}
}

// run gives the verb a folder to work in.
func run(o options, verb func(*peers) error) (err error) {
	p := &peers{options: o, dir: o.keep}
	if p.bin, err = filepath.Abs(o.bin); err == nil {
		_, err = os.Stat(p.bin)
	}
	if err != nil {
		return fmt.Errorf("there is no program %s: build it first: go build -o evalrun .", o.bin)
	}
	if p.dir == "" {
		if p.dir, err = os.MkdirTemp("", "peers"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(p.dir)) }()
	} else if err := os.MkdirAll(p.dir, 0o777); err != nil {
		return err
	}
	if p.dir, err = filepath.Abs(p.dir); err != nil {
		return err
	}
	if err := verb(p); err != nil {
		return err
	}
	if p.failed > 0 {
		return fmt.Errorf("%d checks failed", p.failed)
	}
	return nil
}

// peers is one comparison on its way.
type peers struct {
	options
	dir    string
	failed int
	cpu    float64 // processor seconds of the last command, with all that it started
}

// at is a path within the folder.
func (p *peers) at(name ...string) string {
	return filepath.Join(append([]string{p.dir}, name...)...)
}

// check prints a line of the comparison: what, and the figure in words.
func (p *peers) check(ok bool, what, format string, detail ...any) {
	sign := "ok  "
	if !ok {
		sign = "FAIL"
		p.failed++
	}
	fmt.Printf("%s  %-34s %s\n", sign, what, fmt.Sprintf(format, detail...))
}

// evalrun runs the program under test and gives its standard output.
func (p *peers) evalrun(in []byte, args ...string) ([]byte, error) {
	return p.command(exec.Command(p.bin, args...), in)
}

// command runs a program in the folder.
func (p *peers) command(cmd *exec.Cmd, in []byte) ([]byte, error) {
	var complaint strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(in)), &complaint
	out, err := cmd.Output()
	if s := cmd.ProcessState; s != nil {
		p.cpu = (s.UserTime() + s.SystemTime()).Seconds()
	}
	if err != nil {
		text := complaint.String()
		if len(text) > 3000 {
			text = "… " + text[len(text)-3000:]
		}
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args[:min(3, len(cmd.Args))], " "), err, text)
	}
	return out, nil
}

// Command demogen writes the training text of the demonstration model, or the
// generated rows of a task.
//
//	go run ./internal/demogen/cmd/demogen train -out train.jsonl
//	go run ./internal/demogen/cmd/demogen rows -write
//	go run ./internal/demogen/cmd/demogen prompts   (every embedded row as a model sees it)
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/evalrun/evalrun/internal/demogen"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demogen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want a verb: train, rows or prompts")
	}
	fl := flag.NewFlagSet(args[0], flag.ContinueOnError)
	seed := fl.Uint64("seed", demogen.Seed, "seed")
	tasks := fl.String("tasks", "tasks", "folder of the task files")
	switch args[0] {
	case "train":
		unit := fl.Int("unit", demogen.Unit, "rows a unit of weight")
		out := fl.String("out", "train.jsonl", "file to write")
		world := fl.String("world", demogen.TrainWorld.String(), "train, or eval: text to try a model on")
		if err := fl.Parse(args[1:]); err != nil {
			return err
		}
		wd, err := demogen.ParseWorld(*world)
		if err != nil {
			return err
		}
		f, err := os.Create(*out)
		if err != nil {
			return err
		}
		w := bufio.NewWriterSize(f, 1<<20)
		if err := demogen.WriteTrain(w, os.DirFS(*tasks), demogen.Options{World: wd, Seed: *seed, Unit: *unit}); err != nil {
			f.Close()
			return err
		}
		if err := w.Flush(); err != nil {
			f.Close()
			return err
		}
		return f.Close()
	case "rows":
		n := fl.Int("n", demogen.EvalRows, "rows a task")
		write := fl.Bool("write", false, "replace the generated rows of tasks/rows/*.jsonl instead of printing")
		if err := fl.Parse(args[1:]); err != nil {
			return err
		}
		for _, name := range demogen.Names() {
			rows, err := demogen.Rows(demogen.EvalWorld, name, *seed, *n)
			if err != nil {
				return err
			}
			if !*write {
				os.Stdout.Write(append(bytes.Join(rows, []byte("\n")), '\n'))
				continue
			}
			path := filepath.Join(*tasks, "rows", name+".jsonl")
			if err := replaceGenerated(path, rows); err != nil {
				return err
			}
		}
		return nil
	}
	if args[0] == "prompts" {
		if err := fl.Parse(args[1:]); err != nil {
			return err
		}
		w := bufio.NewWriter(os.Stdout)
		for _, name := range demogen.Names() {
			if err := writePrompts(w, name); err != nil {
				return err
			}
		}
		return w.Flush()
	}
	return fmt.Errorf("no verb %q: want train, rows or prompts", args[0])
}

// replaceGenerated keeps the hand-written lines on top and puts rows below.
func replaceGenerated(path string, rows [][]byte) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, l := range bytes.Split(old, []byte("\n")) {
		if len(bytes.TrimSpace(l)) > 0 && !bytes.Contains(l, []byte(`"_origin": "generated"`)) {
			b.Write(l)
			b.WriteByte('\n')
		}
	}
	for _, r := range rows {
		b.Write(r)
		b.WriteByte('\n')
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

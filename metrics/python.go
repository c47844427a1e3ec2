package metrics

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/evalrun/evalrun/core/extract"
	"github.com/evalrun/evalrun/core/text"
)

// The functions of the published evaluator (predibase/lora_bakeoff,
// utils/metric_fns.py), on Python values: nil, bool, json.Number, string.
// They were written anew from what the originals answer, and are held to it by
// recorded answers. Where an original raises, verdict.raised names the
// exception's class.

type verdict struct {
	value  float64
	raised string
}

type pyFunction func(generated, target any) verdict

const (
	attributeError = "AttributeError"
	typeError      = "TypeError"
	valueError     = "ValueError"
)

func win(ok bool) verdict {
	if ok {
		return verdict{value: 1}
	}
	return verdict{}
}

func raised(class string) verdict { return verdict{raised: class} }

// pyFloat is float(v).
func pyFloat(v any) (float64, bool) {
	switch x := v.(type) {
	case string:
		return text.ParseFloat(x)
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	case json.Number:
		return text.ParseFloat(x.String())
	}
	return 0, false
}

// pyInt is int(v); of a float it is the part before the point.
func pyInt(v any) (*big.Int, bool) {
	switch x := v.(type) {
	case string:
		return text.ParseInt(x)
	case bool:
		f, _ := pyFloat(x)
		return big.NewInt(int64(f)), true
	case json.Number:
		if n, ok := text.ParseInt(x.String()); ok {
			return n, true
		}
		f, ok := text.ParseFloat(x.String())
		if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, false
		}
		n, _ := big.NewFloat(f).Int(nil)
		return n, true
	}
	return nil, false
}

// pyAccuracy is get_accuracy: equal as lower-case text without outer points,
// or the answer, read as a float and printed, equal to the target's text. So
// "1" fits "1.0", and "1.0" does not fit "1".
func pyAccuracy(generated, target any) verdict {
	plain := func(v any) string { return text.Lower(strings.Trim(text.Str(v), ".")) }
	if plain(generated) == plain(target) {
		return win(true)
	}
	f, ok := pyFloat(generated)
	return win(ok && text.FormatFloat(f) == text.Strip(text.Str(target)))
}

// pyUnpublished stands for the functions that the published tasks name and the
// published program lacks.
func pyUnpublished(generated, target any) verdict { return pyAccuracy(generated, target) }

// pyBool is get_bool_value_from_text: the first of a fixed list of substrings
// decides, wherever in the text it stands.
func pyBool(v any) (value, found bool) {
	s := text.Str(v)
	lower := text.Lower(s)
	for i, word := range []string{"1", "0", "yes", "no", "true", "false", "positive", "negative"} {
		if strings.Contains(lower, word) {
			return i%2 == 0, true
		}
	}
	return false, false
}

func pyBinaryAccuracyFlex(generated, target any) verdict {
	g, ok := pyBool(generated)
	if !ok {
		return win(false)
	}
	t, ok := pyBool(target)
	return win(ok && g == t)
}

// sameDigit is the common part of the mnli, mrpc and hellaswag functions: plain
// accuracy, or both texts hold one of the digits.
func sameDigit(generated, target any, digits string) verdict {
	if v := pyAccuracy(generated, target); v.value == 1 {
		return v
	}
	g, ok := generated.(string)
	if !ok {
		return raised(typeError)
	}
	t := text.Str(target)
	for _, d := range digits {
		if strings.ContainsRune(g, d) && strings.ContainsRune(t, d) {
			return win(true)
		}
	}
	return win(false)
}

func pyMnliAccuracy(generated, target any) verdict      { return sameDigit(generated, target, "012") }
func pyMrpcAccuracy(generated, target any) verdict      { return sameDigit(generated, target, "12") }
func pyHellaswagAccuracy(generated, target any) verdict { return sameDigit(generated, target, "0123") }

var (
	firstNumberPattern = mustPattern(`\d{1,3}(?:,\d{3})*(?:\.\d+)?`)
	lastNumberPattern  = mustPattern(`[\$€£]?[+-]?\d{1,3}(?:,\d{3})*(?:\.\d+)?`)
	gsm8kPattern       = mustPattern(`(-?[$0-9.,]{2,})|(-?[0-9]+)`)
)

// mustPattern compiles a pattern of this file. They are linear in the text, so
// that only an answer of many megabytes comes near a minute.
func mustPattern(p string) *extract.Pattern {
	compiled, err := extract.Compile(p, "", time.Minute)
	if err != nil {
		panic(err) // a constant of this file, seen by every test
	}
	return compiled
}

// firstNumber is get_first_number: up to three digits and groups of three, so
// of "1234" it gives "123". The patterns here are linear, and a time limit is
// taken for no match.
func firstNumber(s string) (string, bool) {
	m, err := firstNumberPattern.Search(s)
	if err != nil || m == nil {
		return "", false
	}
	return m.Groups[0], true
}

func lastNumber(s string) (string, bool) {
	m, err := lastNumberPattern.Select(s, -1)
	if err != nil || m == nil {
		return "", false
	}
	return m.Groups[0], true
}

// pyFirstNumberAccuracy compares the first numbers; two texts without any
// agree.
func pyFirstNumberAccuracy(generated, target any) verdict {
	number := func(v any) any {
		if n, ok := firstNumber(text.Str(v)); ok {
			return n
		}
		return nil
	}
	return pyAccuracy(number(generated), number(target))
}

func pyMmluAccuracy(generated, target any) verdict {
	if v := pyAccuracy(generated, target); v.value == 1 {
		return v
	}
	return pyFirstNumberAccuracy(generated, target)
}

func pyCustomerSupportAccuracy(generated, target any) verdict {
	if v := pyAccuracy(generated, target); v.value == 1 {
		return v
	}
	t, ok := target.(string)
	if !ok {
		return raised(attributeError)
	}
	g, ok := generated.(string)
	if !ok {
		return raised(attributeError)
	}
	return win(strings.Contains(text.Lower(g), text.Lower(t)))
}

// pyRouge is get_rouge: torchmetrics' rougeL F-measure, a float32.
func pyRouge(generated, target any) verdict {
	g, ok := generated.(string)
	if !ok {
		return raised(attributeError)
	}
	t, ok := target.(string)
	if !ok {
		return raised(typeError)
	}
	return verdict{value: float64(float32(text.RougeL(g, t).F))}
}

// pyDbpedia is get_dbpedia: an integer answer indexes the list of classes, as
// Python does also from the end, and the rest is ROUGE. An integer beyond the
// list stays an integer, and ROUGE stops at it.
func pyDbpedia(generated, target any) verdict {
	if n, ok := pyInt(generated); ok {
		generated = json.Number(n.String())
		if n.IsInt64() {
			i, size := n.Int64(), int64(len(dbpediaClasses))
			if i < 0 {
				i += size
			}
			if i >= 0 && i < size {
				generated = dbpediaClasses[i]
			}
		}
	}
	return pyRouge(generated, target)
}

// pyStsbNumber is get_stsb_number: float(v), else the first number of the text
// if it lies in 0 … 5. A first number with a comma stops it.
func pyStsbNumber(v any) (value float64, found bool, class string) {
	if f, ok := pyFloat(v); ok {
		return f, true, ""
	}
	n, ok := firstNumber(text.Str(v))
	if !ok {
		return 0, false, ""
	}
	f, ok := text.ParseFloat(n)
	if !ok {
		return 0, false, valueError
	}
	return f, f >= 0 && f <= 5, ""
}

// pyStsb is get_stsb: 1 − |g − t|/5, with no lower bound.
func pyStsb(generated, target any) verdict {
	g, haveG, class := pyStsbNumber(generated)
	if class != "" {
		return raised(class)
	}
	t, haveT, class := pyStsbNumber(target)
	switch {
	case class != "":
		return raised(class)
	case !haveG:
		return win(false)
	case !haveT:
		return raised(typeError)
	}
	return verdict{value: 1 - math.Abs(g-t)/5}
}

// pyGsm8k is get_gsm8k_regex: the last number of both texts, equal as floats
// once $, outer points and commas are gone.
func pyGsm8k(generated, target any) verdict {
	var found [2]string
	for i, v := range []any{generated, target} {
		s, ok := v.(string)
		if !ok {
			return raised(typeError)
		}
		m, err := gsm8kPattern.Select(s, -1)
		if err != nil || m == nil {
			return win(false)
		}
		found[i] = m.Groups[0]
	}
	value := func(s string) (float64, bool) {
		return text.ParseFloat(strings.ReplaceAll(strings.Trim(s, "$."), ",", ""))
	}
	g, okG := value(found[0])
	t, okT := value(found[1])
	return win(okG && okT && g == t)
}

// pyDrop is get_drop: the target is what stands between "['" and "']",
// integers are spelled out on both sides, the rest is ROUGE.
func pyDrop(generated, target any) verdict {
	t, ok := target.(string)
	if !ok {
		return raised(attributeError)
	}
	t, err := bracketed(t)
	if err != nil {
		return raised(valueError)
	}
	t = text.Lower(t)
	g, ok := generated.(string)
	if !ok {
		return raised(attributeError)
	}
	g = text.Lower(g)
	if strings.HasPrefix(g, "{'spans': array(['") {
		if g, err = bracketed(g); err != nil {
			return raised(valueError)
		}
	}
	if n, ok := text.ParseInt(t); ok {
		words, ok := text.NumberWords(n)
		if !ok {
			return raised(typeError)
		}
		t = words
	}
	if n, ok := text.ParseInt(g); ok {
		words, ok := text.NumberWords(n)
		if !ok {
			return raised(attributeError)
		}
		g = words
	}
	return pyRouge(g, t)
}

var errNoBracket = errors.New("no bracket")

// bracketed is s[s.index("[")+2 : s.index("]")-1] with Python's slicing.
func bracketed(s string) (string, error) {
	r := []rune(s)
	open, closing := -1, -1
	for i, c := range r {
		if c == '[' && open < 0 {
			open = i
		}
		if c == ']' && closing < 0 {
			closing = i
		}
	}
	if open < 0 || closing < 0 {
		return "", errNoBracket
	}
	from, to := min(open+2, len(r)), closing-1
	if to < 0 {
		to += len(r)
	}
	if from >= to {
		return "", nil
	}
	return string(r[from:to]), nil
}

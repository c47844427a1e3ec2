package text

import (
	"encoding/json"
	"math"
	"math/big"
	"slices"
	"testing"
)

// The wanted values of the tables below are what CPython 3.11 answers.

func TestStringMethods(t *testing.T) {
	for _, c := range []struct{ in, lower, strip string }{
		{"", "", ""},
		{" \x1c a\u00a0", " \x1c a\u00a0", "a"},
		{"İstanbul", "i\u0307stanbul", "İstanbul"},
		{"\u212a", "k", "\u212a"},
		{"ΑΣ ΟΔΟΣ. Σ ΑΣΑ", "ας οδος. σ ασα", "ΑΣ ΟΔΟΣ. Σ ΑΣΑ"},
		{"ẞ", "ß", "ẞ"},
		{"A\xffB\n", "a\xffb\n", "A\xffB"},
		{"\u200bx\u200b", "\u200bx\u200b", "\u200bx\u200b"},
		{"\u3000x\u2028", "\u3000x\u2028", "x"},
	} {
		if got := Lower(c.in); got != c.lower {
			t.Errorf("Lower(%q) = %q, Python %q", c.in, got, c.lower)
		}
		if got := Strip(c.in); got != c.strip {
			t.Errorf("Strip(%q) = %q, Python %q", c.in, got, c.strip)
		}
	}
	if got := LStrip(" a "); got != "a " {
		t.Errorf("LStrip: %q", got)
	}
	if got := RStrip(" a "); got != " a" {
		t.Errorf("RStrip: %q", got)
	}
	if got := Split("\x1fa  b\u2003c "); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("Split: %q", got)
	}
	lines := "a\r\nb\rc\n\nd\x0be\u2028f\n"
	if got := SplitLines(lines); !slices.Equal(got, []string{"a", "b", "c", "", "d", "e", "f"}) {
		t.Errorf("SplitLines: %q", got)
	}
	if got := FirstLine("a\r\nb"); got != "a" {
		t.Errorf("FirstLine: %q", got)
	}
	if IsWord('\u0301') || !IsWord('_') || !IsWord('²') || !IsWord('Ⅷ') || IsWord('-') {
		t.Error("IsWord differs from Python's \\w")
	}
}

func TestParseFloat(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for in, want := range map[string]any{
		"1": 1.0, " 1.5\n": 1.5, "1_0": 10.0, "1__0": nil, "_1": nil, "1_": nil, "1_.5": nil, "1._5": nil,
		"٣": 3.0, "０": 0.0, "1٣.٣": 13.3, "1e5": 1e5, "1e": nil, "1e+0_1": 10.0, ".5": 0.5, "5.": 5.0, ".": nil,
		"": nil, " ": nil, "-": nil, "+-1": nil, "-inf": -inf, "Infinity": inf, "infin": nil, "NaN": nan, "-nan": nan,
		"0x1": nil, "0x1p-2": nil, "1e400": inf, "-1e400": -inf, "1e-400": 0.0, "1,000": nil, "1 0": nil,
		"\x1c1": nil, "\x0b1\x0c": 1.0, "\u00a01\u2003": 1.0, "\u00a01\x1c": nil, "½": nil, "²": nil, "1\x00": nil,
		"१.५": 1.5, "𝟙": 1.0, "\xff1": nil, "i\u0307nf": nil,
	} {
		got, ok := ParseFloat(in)
		w, accepted := want.(float64)
		if ok != accepted || ok && got != w && !(math.IsNaN(got) && math.IsNaN(w)) {
			t.Errorf("ParseFloat(%q) = %v %v, Python %v", in, got, ok, want)
		}
	}
	if f, _ := ParseFloat("-0"); !math.Signbit(f) {
		t.Error("ParseFloat lost the sign of -0")
	}
}

func TestParseInt(t *testing.T) {
	for in, want := range map[string]string{
		"7": "7", " -1_0\t": "-10", "+٣": "3", "0": "0", "007": "7", "-0": "0", "1.0": "", "": "", "--1": "", "+-1": "",
		"0x1": "", "1e2": "", "99999999999999999999": "99999999999999999999", "_1": "", "-": "", "- 1": "",
	} {
		n, ok := ParseInt(in)
		if ok != (want != "") || ok && n.String() != want {
			t.Errorf("ParseInt(%q) = %v %v, Python %q", in, n, ok, want)
		}
	}
}

func TestFormatFloat(t *testing.T) {
	for _, c := range []struct {
		in   float64
		want string
	}{
		{1, "1.0"}, {0.1, "0.1"}, {1e15, "1000000000000000.0"}, {1e16, "1e+16"}, {0.0001, "0.0001"}, {0.00001, "1e-05"},
		{123456789012345680, "1.2345678901234568e+17"}, {math.Copysign(0, -1), "-0.0"}, {math.NaN(), "nan"},
		{math.Inf(-1), "-inf"}, {5e-324, "5e-324"}, {1e300, "1e+300"}, {-2.5, "-2.5"}, {1e6, "1000000.0"},
	} {
		if got := FormatFloat(c.in); got != c.want {
			t.Errorf("FormatFloat(%v) = %q, Python %q", c.in, got, c.want)
		}
	}
}

func TestRepr(t *testing.T) {
	big1, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	for _, c := range []struct {
		in        any
		str, repr string
	}{
		{nil, "None", "None"}, {true, "True", "True"}, {false, "False", "False"}, {3, "3", "3"}, {int64(-4), "-4", "-4"},
		{3.0, "3.0", "3.0"}, {json.Number("3"), "3", "3"}, {json.Number("3e2"), "300.0", "300.0"}, {big1, big1.String(), big1.String()},
		{"it's", "it's", `"it's"`}, {`a"b'c`, `a"b'c`, `'a"b\'c'`}, {"a\n\t\\\x00\x7f", "a\n\t\\\x00\x7f", `'a\n\t\\\x00\x7f'`},
		{"é\u00a0\u200b😀\U000e0001", "é\u00a0\u200b😀\U000e0001", `'é\xa0\u200b😀\U000e0001'`},
		{[]any{1, "a", nil, []any{}}, "[1, 'a', None, []]", "[1, 'a', None, []]"}, {[]string{"x"}, "['x']", "['x']"},
		{Dict{{"b", 1}, {"a", []any{2.5}}, {3, true}}, "{'b': 1, 'a': [2.5], 3: True}", "{'b': 1, 'a': [2.5], 3: True}"},
		{map[string]any{"b": 1, "a": 2}, "{'a': 2, 'b': 1}", "{'a': 2, 'b': 1}"}, {"\xff", "\xff", `'\udcff'`},
	} {
		if got := Str(c.in); got != c.str {
			t.Errorf("Str(%#v) = %s, Python %s", c.in, got, c.str)
		}
		if got := Repr(c.in); got != c.repr {
			t.Errorf("Repr(%#v) = %s, Python %s", c.in, got, c.repr)
		}
	}
}

// inflect 7.6.0
func TestNumberWords(t *testing.T) {
	for in, want := range map[string]string{
		"0": "zero", "7": "seven", "21": "twenty-one", "70": "seventy", "100": "one hundred", "110": "one hundred and ten",
		"1001": "one thousand and one", "1100": "one thousand, one hundred", "1000000": "one million",
		"1234": "one thousand, two hundred and thirty-four", "-5": "minus five", "1000001": "one million and one",
		"1234567":                               "one million, two hundred and thirty-four thousand, five hundred and sixty-seven",
		"100000000000000000000000000000000007":  "one hundred decillion and seven",
		"1000000000000000000000000000000000000": "",
	} {
		n, _ := new(big.Int).SetString(in, 10)
		got, ok := NumberWords(n)
		if ok != (want != "") || ok && got != want {
			t.Errorf("NumberWords(%s) = %q %v, inflect %q", in, got, ok, want)
		}
	}
}

func FuzzParseFloat(f *testing.F) {
	for _, s := range []string{"1", "1_0", "٣", " nan ", "1e5", "-.5", "0x1", "\u00a01", "1e400"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, ok := ParseFloat(s)
		if n, isInt := ParseInt(s); isInt {
			if !ok {
				t.Fatalf("%q is an int but no float", s)
			}
			if want, _ := new(big.Float).SetInt(n).Float64(); want != v {
				t.Fatalf("%q: float %v, int %v", s, v, n)
			}
		}
		if !ok || math.IsNaN(v) {
			return
		}
		back, ok := ParseFloat(FormatFloat(v))
		if !ok || back != v {
			t.Fatalf("%q reads as %v, prints as %s, reads back as %v", s, v, FormatFloat(v), back)
		}
	})
}

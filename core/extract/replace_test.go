package extract

import "testing"

// Wants are re.sub's of Python 3.11.
func TestReplace(t *testing.T) {
	for _, c := range []struct {
		pattern, repl, in string
		count             int
		want              string
	}{
		{",", "", "1,234,567", 0, "1234567"},
		{"(?s).*#### ", "", "so\n#### 18", 0, "18"},
		{`\.$`, "", "18.\n", 0, "18\n"},
		{`(\w)(\w)`, `\2\1`, "abcd é", 0, "badc é"},
		{`(?P<x>\d+)`, `<\g<x>\g<1>>`, "a1b22", 1, "a<11>b22"},
		{"x*", "-", "abxd", 0, "-a-b--d-"},
		{"b", `\n\\`, "abc", 0, "a\n\\c"},
		{"中", "é", "a中b中", 0, "aébé"},
	} {
		p, err := Compile(c.pattern, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Replace(c.in, c.repl, c.count); err != nil || got != c.want {
			t.Errorf("sub(%q, %q, %q) = %q, %v; want %q", c.pattern, c.repl, c.in, got, err, c.want)
		}
	}
	p, _ := Compile("(a)", "", 0)
	for _, bad := range []string{`\2`, `\q`, `\g<y>`, `x\`} {
		if _, err := p.Replace("a", bad, 0); err == nil {
			t.Errorf("the replacement %q got through", bad)
		}
	}
}

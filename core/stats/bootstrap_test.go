package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestBootstrapIsSeeded(t *testing.T) {
	values := []float64{0, 1, 1, 0, 1, 0.5, 0.25, 1}
	a, b := BootstrapMean(values, 2000, 7, 0.95), BootstrapMean(values, 2000, 7, 0.95)
	if a != b {
		t.Errorf("the same seed gave %v and %v", a, b)
	}
	if c := BootstrapMean(values, 2000, 8, 0.95); c == a {
		t.Error("another seed gave the same")
	}
	if mean := Mean(values); !(a.Low < mean && mean < a.High) {
		t.Errorf("%v does not hold the mean %v", a, mean)
	}
}

// Every draw of n of n values counted out is the limit of a random bootstrap.
func TestBootstrapLimit(t *testing.T) {
	for _, d := range [][]float64{{0.146, 0.287, 0.28}, {-0.3, 0.1, 0.2, 0.1}, {-0.1, 0.1, 0.2, -0.2, 0.05}} {
		n := len(d)
		total := int(math.Pow(float64(n), float64(n)))
		var mean, squares, below, above float64
		for draw := range total {
			sum := 0.0
			for range n {
				sum += d[draw%n]
				draw /= n
			}
			m := sum / float64(n)
			mean += m / float64(total)
			squares += m * m / float64(total)
			if m <= 1e-12 {
				below += 1 / float64(total)
			}
			if m >= -1e-12 {
				above += 1 / float64(total)
			}
		}
		p := PairedBootstrap(make([]float64, n), d, 100_000, 5)
		if std := math.Sqrt(squares - mean*mean); math.Abs(p.Std/std-1) > 0.01 || math.Abs(p.ShareAtOrBelow0-below) > 0.006 || math.Abs(p.ShareAtOrAbove0-above) > 0.006 {
			t.Errorf("%v: std %v, shares %v %v; exactly %v, %v %v", d, p.Std, p.ShareAtOrBelow0, p.ShareAtOrAbove0, std, below, above)
		}
	}
}

// Both halves of a random word reach every value, equally often.
func TestBootstrapDrawsEvenly(t *testing.T) {
	const n = 37 // odd, so that the last draw takes a word of its own
	for i := range n {
		values := make([]float64, n)
		values[i] = 1
		var sum float64
		for _, m := range resampledMeans(values, 20_000, 11) {
			sum += m * n / 20_000
		}
		if math.Abs(sum-1) > 0.05 { // standard error 0.007
			t.Errorf("value %d is drawn %.3f times as often as it should be", i, sum)
		}
	}
}

func TestClusters(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	values, alone := make([]float64, 60), make([]int, 60)
	for i := range values {
		values[i], alone[i] = rng.Float64(), i
	}
	mean, stderr := MeanStderr(values)
	if m, s, g := ClusteredStderr(values, alone); !near(m, mean, 1e-12) || !near(s, stderr, 1e-12) || g != 60 {
		t.Errorf("clusters of one: %v ± %v of %d, want %v ± %v", m, s, g, mean, stderr)
	}
	if i, want := ClusteredInterval(values, alone, 0, 1, 0.95), StudentT(values, 0.95); !near(i.Low, want.Low, 1e-12) || !near(i.High, want.High, 1e-12) {
		t.Errorf("clusters of one: %v, want %v", i, want)
	}
	// Each value three times tells as much as each once.
	var thrice []float64
	var cluster []int
	for i, v := range values {
		thrice, cluster = append(thrice, v, v, v), append(cluster, i, i, i)
	}
	if _, s, g := ClusteredStderr(thrice, cluster); !near(s, stderr, 1e-12) || g != 60 {
		t.Errorf("three copies: ± %v of %d, want ± %v", s, g, stderr)
	}
	zero := make([]float64, len(thrice))
	p := PairedBootstrapClustered(zero, thrice, cluster, 20_000, 1)
	if math.Abs(p.Std/(stderr*math.Sqrt(59.0/60))-1) > 0.02 || !near(p.MeanDifference, mean, 1e-12) {
		t.Errorf("three copies bootstrapped: %v ± %v, want %v ± %v", p.MeanDifference, p.Std, mean, stderr)
	}
	if _, s, _ := ClusteredStderr([]float64{1, 0}, []int{4, 4}); !math.IsNaN(s) {
		t.Errorf("one cluster: %v, want NaN", s)
	}
	if i := ClusteredInterval([]float64{1, 1, 1, 1}, []int{0, 0, 1, 1}, 0, 1, 0.95); !(i.High == 1 && i.Low > 0 && i.Low < 0.4) {
		t.Errorf("no spread: %v", i) // Wilson's of 2 of 2: 0.342
	}
}

// statsmodels' cov_type="cluster" of a constant: OLS(v, ones).fit(…).bse.
func TestClusteredStderrAgainstPython(t *testing.T) {
	_, s, _ := ClusteredStderr([]float64{1, 0, 1, 1, 0, 0, 1, 0.5}, []int{0, 0, 1, 1, 1, 2, 3, 3})
	if want := 0.10900234133571016; !near(s, want, 1e-12) {
		t.Errorf("%v, Python %v", s, want)
	}
}

// 10,000 resamples of 1,000 pairs; the bar is 50 ms.
func BenchmarkPairedBootstrap(b *testing.B) {
	x, y := make([]float64, 1000), make([]float64, 1000)
	for i := range x {
		x[i], y[i] = float64(i%7)/6, float64(i%5)/4
	}
	for b.Loop() {
		PairedBootstrap(x, y, 10_000, 1)
	}
}

func BenchmarkPairedBootstrapClustered(b *testing.B) {
	x, y, c := make([]float64, 1000), make([]float64, 1000), make([]int, 1000)
	for i := range x {
		x[i], y[i], c[i] = float64(i%7)/6, float64(i%5)/4, i/3
	}
	for b.Loop() {
		PairedBootstrapClustered(x, y, c, 10_000, 1)
	}
}

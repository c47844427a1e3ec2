package train

import (
	"math"
	"strings"
	"testing"
)

// Values of torch 2.15 and transformers 5.23: SequentialLR of LambdaLR and
// CosineAnnealingWarmRestarts, and get_scheduler.
func TestRate(t *testing.T) {
	paper := Schedule{Kind: CosineRestarts, LR: 2e-4, Warmup: 1200, Steps: 40000, Restart: 1000}
	cosine := Schedule{Kind: Cosine, LR: 2e-4, Warmup: 15, Steps: 500}
	for _, c := range []struct {
		s    Schedule
		step int
		want float64
	}{
		{paper, 0, 0},
		{paper, 1, 1.6666666666666668e-07},
		{paper, 3, 5.000000000000001e-07},
		{paper, 1200, 2e-4},
		{paper, 1700, 1e-4},
		{paper, 2199, 2e-4 * (1 + math.Cos(math.Pi*0.999)) / 2},
		{paper, 2200, 2e-4},
		{cosine, 3, 4e-05},
		{cosine, 15, 2e-4},
		{cosine, 500, 0},
		{cosine, 600, 0},
		{Schedule{Kind: Linear, LR: 1, Warmup: 10, Steps: 110}, 60, 0.5},
		{Schedule{Kind: Linear, LR: 1, Warmup: 10, Steps: 110}, 200, 0},
		{Schedule{Kind: Constant, LR: 1, Warmup: 10, Steps: 110}, 5, 0.5},
		{Schedule{Kind: Constant, LR: 1, Warmup: 10, Steps: 110}, 109, 1},
		// A warm-up of 9.5 steps: the cosine begins in step 10.
		{Schedule{Kind: CosineRestarts, LR: 1, Warmup: 9.5, Steps: 100, Restart: 10}, 9, 9 / 9.5},
		{Schedule{Kind: CosineRestarts, LR: 1, Warmup: 9.5, Steps: 100, Restart: 10}, 10, 1},
	} {
		if got := c.s.Rate(c.step); math.Abs(got-c.want) > 1e-12*c.want+1e-17 {
			t.Errorf("%+v in step %d: rate %v, want %v", c.s, c.step, got, c.want)
		}
	}
}

func TestScheduleCheck(t *testing.T) {
	good := Schedule{Kind: CosineRestarts, LR: 1, Steps: 1, Restart: 1}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Schedule){
		"constant, linear, cosine, cosine-restarts": func(s *Schedule) { s.Kind = "cosin" },
		"learning rate NaN":                         func(s *Schedule) { s.LR = math.NaN() },
		"learning rate +Inf":                        func(s *Schedule) { s.LR = math.Inf(1) },
		"warm-up of -1 steps":                       func(s *Schedule) { s.Warmup = -1 },
		"0 steps":                                   func(s *Schedule) { s.Steps = 0 },
		"period of 0":                               func(s *Schedule) { s.Restart = 0 },
	} {
		s := good
		change(&s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", s, err, want)
		}
	}
}

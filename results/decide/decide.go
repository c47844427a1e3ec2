package decide

import (
	"cmp"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/stats"
)

const callsPerDay = "traffic.calls_per_day"

// daysPerMonth turns daily costs into the monthly ones that are printed.
const daysPerMonth = 365.25 / 12

// A Spread is what the draws say of a number.
type Spread struct {
	Low, Median, High float64 // 5th, 50th and 95th percentile
}

// MarshalJSON writes what JSON has no number for as a word.
func (s Spread) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Low    record.Float `json:"low_5"`
		Median record.Float `json:"median"`
		High   record.Float `json:"high_95"`
	}{record.Float(s.Low), record.Float(s.Median), record.Float(s.High)})
}

// costs are one draw's, in USD.
type costs struct {
	apiPerCall float64
	// fixed a day: training spread over the horizon, and the work of serving.
	training, trainingPerDay, workPerDay float64
	// gpuDay is the price of a GPU a day; share the least that is paid for, and
	// perCall the part of a GPU-day that a call takes at the peak.
	gpuDay, share, perCall float64
	// errors is what the loss in score against the API costs a call.
	errorsPerCall float64
}

// draw takes one set of costs from the assumptions. loss is how much lower the
// fine-tuned model scores, in this draw.
func (a Assumptions) draw(rng *rand.Rand, loss float64) costs {
	return costsOf(func(key string) float64 { return a.Get(key).draw(rng) }, loss)
}

// costsOf puts the assumptions' values together.
func costsOf(v func(key string) float64, loss float64) costs {
	in, out := v("traffic.input_tokens"), v("traffic.output_tokens")
	c := costs{apiPerCall: (in*v("api.usd_per_million_input") + out*v("api.usd_per_million_output")) / 1e6 * v("api.price_change")}
	wage := v("training.usd_per_work_hour")
	c.training = v("training.runs")*v("training.gpu_hours")*v("training.usd_per_gpu_hour") + v("training.labels")*v("training.usd_per_label") + v("training.work_hours")*wage
	c.trainingPerDay = c.training / v("traffic.horizon_days")
	c.workPerDay = v("serving.work_hours_per_month") * wage / daysPerMonth
	c.gpuDay, c.share = 24*v("serving.usd_per_gpu_hour"), v("serving.share")
	seconds := in/v("serving.input_tokens_per_second") + out/v("serving.output_tokens_per_second")
	c.perCall = seconds / 86400 * v("traffic.peak_factor")
	c.errorsPerCall = loss * v("quality.usd_per_error")
	return c
}

// fixed is what the fine-tuned model costs a day before the first call.
func (c costs) fixed() float64 { return c.trainingPerDay + c.workPerDay + c.gpuDay*c.share }

// own is what the fine-tuned model costs a day at a traffic: GPUs are added by
// parts beyond the least share, as a pool of them is.
func (c costs) own(calls float64) float64 {
	return c.trainingPerDay + c.workPerDay + c.gpuDay*math.Max(c.share, c.perCall*calls) + c.errorsPerCall*calls
}

func (c costs) api(calls float64) float64 { return c.apiPerCall * calls }

// breakEven is the least traffic at which the fine-tuned model is cheaper, +Inf
// for none. While the least share suffices, a call costs nothing more:
//
//	calls = fixed / (api − errors)
//
// and beyond it each takes its part of a GPU:
//
//	calls = (fixed without GPU) / (api − errors − GPU a call).
//
// The costs of one's own model are convex in the calls, so that the first of
// these that holds is the least.
func (c costs) breakEven() float64 {
	gain := c.apiPerCall - c.errorsPerCall
	if gain <= 0 {
		return math.Inf(1)
	}
	if calls := c.fixed() / gain; calls*c.perCall <= c.share {
		return calls
	}
	if gain -= c.gpuDay * c.perCall; gain > 0 {
		return (c.trainingPerDay + c.workPerDay) / gain
	}
	return math.Inf(1)
}

// Options of a decision.
type Options struct {
	// Draws from the ranges; 0 is 20,000.
	Draws int
	Seed  uint64
}

// A Decision is the answer.
type Decision struct {
	Verdict  Verdict  `json:"verdict"`
	Sentence string   `json:"sentence"`
	Why      []string `json:"why"`

	Quality Quality `json:"quality"`
	Chances Chances `json:"probability"`

	// Costs a month in USD, at the traffic that is assumed.
	CallsPerDay float64 `json:"calls_per_day"`
	API         Spread  `json:"api_usd_per_month"`
	Own         Spread  `json:"finetuned_usd_per_month"`
	Serving     Spread  `json:"serving_usd_per_month"`
	Saved       Spread  `json:"saved_usd_per_month"`
	// Training is what has to be spent before the first call.
	Training Spread `json:"training_usd"`
	// BreakEven is the least number of calls a day at which fine-tuning pays,
	// over the draws in which it ever does; NeverPays is the share of others.
	BreakEven Spread  `json:"break_even_calls_per_day"`
	NeverPays float64 `json:"never_pays"`
	// Points are the costs at other traffic.
	Points []Point `json:"by_traffic"`
	// Swings say which assumptions move the answer most, the greatest first.
	Swings []Swing `json:"swings"`

	Assumptions []Used `json:"assumptions"`
}

// Chances are shares of the draws.
type Chances struct {
	// Better: the fine-tuned model scores higher. GoodEnough: it scores lower by
	// no more than the acceptable loss. Cheaper: it costs less.
	Better     float64 `json:"better"`
	GoodEnough float64 `json:"good_enough"`
	Cheaper    float64 `json:"cheaper"`
}

// A Point is the costs at one traffic.
type Point struct {
	CallsPerDay float64 `json:"calls_per_day"`
	API         float64 `json:"api_usd_per_month"` // medians
	Own         float64 `json:"finetuned_usd_per_month"`
	Cheaper     float64 `json:"probability_cheaper"`
}

// A Swing is what one assumption does: the money saved a month with it at either
// end of its range, and everything else most likely.
type Swing struct {
	Key    string  `json:"key"`
	AtLow  float64 `json:"saved_at_low"`
	AtHigh float64 `json:"saved_at_high"`
}

// swings orders the assumptions that are in doubt by how much they move.
func (a Assumptions) swings(q Quality) []Swing {
	saved := func(changed string, value float64) float64 {
		v := func(key string) float64 {
			if key == changed {
				return value
			}
			return a.Get(key).Likely
		}
		c := costsOf(v, -q.Difference)
		return daysPerMonth * (c.api(v(callsPerDay)) - c.own(v(callsPerDay)))
	}
	var out []Swing
	for _, x := range a {
		if s := (Swing{x.Key, saved(x.Key, x.Value.Low), saved(x.Key, x.Value.High)}); s.AtLow != s.AtHigh {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(x, y Swing) int {
		return cmp.Compare(math.Abs(y.AtHigh-y.AtLow), math.Abs(x.AtHigh-x.AtLow))
	})
	return out
}

// Used is an assumption as it was used.
type Used struct {
	Key    string  `json:"key"`
	Low    float64 `json:"low"`
	Likely float64 `json:"likely"`
	High   float64 `json:"high"`
	Unit   string  `json:"unit"`
	From   string  `json:"from"`
	Why    string  `json:"why"`
}

// Decide weighs the two.
func Decide(a Assumptions, q Quality, o Options) Decision {
	if o.Draws <= 0 {
		o.Draws = 20000
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0x5bd1e995))
	d := Decision{Quality: q}
	loss := a.Get("quality.acceptable_loss").Likely
	draws := make([]costs, o.Draws)
	for i := range draws {
		draws[i] = a.draw(rng, q.drawLoss(rng))
	}
	d.Chances.Better, d.Chances.GoodEnough = q.above(0), q.above(-loss)

	calls := a.Get(callsPerDay)
	d.CallsPerDay = calls.Likely
	traffic := make([]float64, o.Draws)
	for i := range traffic {
		traffic[i] = calls.draw(rng)
	}
	spread := func(f func(c costs, calls float64) float64) Spread {
		v := make([]float64, o.Draws)
		for i, c := range draws {
			v[i] = f(c, traffic[i])
		}
		return spreadOf(v)
	}
	month := func(f func(costs, float64) float64) Spread {
		return spread(func(c costs, n float64) float64 { return daysPerMonth * f(c, n) })
	}
	d.API, d.Own = month(costs.api), month(costs.own)
	d.Serving = month(func(c costs, n float64) float64 { return c.own(n) - c.trainingPerDay - c.errorsPerCall*n })
	d.Saved = month(func(c costs, n float64) float64 { return c.api(n) - c.own(n) })
	d.Training = spread(func(c costs, _ float64) float64 { return c.training })
	d.Chances.Cheaper = share(draws, func(i int, c costs) bool { return c.own(traffic[i]) < c.api(traffic[i]) })

	var at []float64
	for _, c := range draws {
		if b := c.breakEven(); !math.IsInf(b, 0) {
			at = append(at, b)
		}
	}
	d.NeverPays = 1 - float64(len(at))/float64(o.Draws)
	d.BreakEven = spreadOf(at)
	for _, n := range []float64{100, 1000, 10_000, 100_000, 1_000_000} {
		p := Point{CallsPerDay: n, Cheaper: share(draws, func(_ int, c costs) bool { return c.own(n) < c.api(n) })}
		api, own := make([]float64, o.Draws), make([]float64, o.Draws)
		for i, c := range draws {
			api[i], own[i] = daysPerMonth*c.api(n), daysPerMonth*c.own(n)
		}
		p.API, p.Own = spreadOf(api).Median, spreadOf(own).Median
		d.Points = append(d.Points, p)
	}
	for _, x := range a {
		if x.From != fromDefault {
			x.Why = "" // that is where the default comes from
		}
		d.Assumptions = append(d.Assumptions, Used{x.Key, x.Value.Low, x.Value.Likely, x.Value.High, x.Unit, x.From, x.Why})
	}
	d.Swings = a.swings(q)
	d.judge()
	return d
}

func share(draws []costs, yes func(int, costs) bool) float64 {
	n := 0
	for i, c := range draws {
		if yes(i, c) {
			n++
		}
	}
	return float64(n) / float64(len(draws))
}

func spreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN()}
	}
	values = slices.Clone(values)
	return Spread{stats.Percentile(values, 5), stats.Percentile(values, 50), stats.Percentile(values, 95)}
}

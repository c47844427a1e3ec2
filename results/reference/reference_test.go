package reference

import (
	"math"
	"strconv"
	"testing"
)

func TestTables(t *testing.T) {
	if n := len(Tasks()); n != 31 {
		t.Fatalf("%d tasks, want 31", n)
	}
	for _, task := range Tasks() {
		if len(task.Base) != 12 || len(task.Finetuned) != 12 {
			t.Errorf("%s: %d and %d models, want 12", task.Task, len(task.Base), len(task.Finetuned))
		}
		if _, _, ok := PromptHash(task.Task); !ok {
			t.Errorf("%s: no prompt hash", task.Task)
		}
	}
	if _, ok := Lookup("none"); ok {
		t.Error("found a task that is not there")
	}
}

// Table 3 is made from Tables 11 and 12; the two must agree to the digit.
func TestTable3FollowsFromTables11And12(t *testing.T) {
	for _, row := range table("table3_best_per_task.csv")[1:] {
		if row[0] == "average" {
			continue
		}
		task, ok := Lookup(row[0])
		if !ok {
			t.Errorf("table 3 has %s, table 11 has not", row[0])
			continue
		}
		base, _ := task.BestBase()
		tuned, _ := task.BestFinetuned()
		for _, c := range []struct {
			name string
			got  float64
			want string
		}{{"best base", base, row[2]}, {"best fine-tuned", tuned, row[3]}, {"gpt-4", task.Base[GPT4], row[4]}} {
			want, err := strconv.ParseFloat(c.want, 64)
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(c.got-want) > 0.0011 {
				t.Errorf("%s: %s is %v, table 3 says %v", row[0], c.name, c.got, want)
			}
		}
	}
}

// Table 13's quality columns follow from Tables 11 and 12, to the rounding of
// the report: that ties the three files together, row by row.
func TestTable13FollowsFromTables11And12(t *testing.T) {
	if q, h := QualityNames(), HeuristicNames(); len(q) != 6 || len(h) != 14 || q[0] != "max_gpt4_lift" || h[0] != "input_len_p95" || h[13] != "train_examples" {
		t.Fatalf("columns %v %v", q, h)
	}
	rows := Table13()
	if len(rows) != 31 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, m := range rows {
		task, ok := Lookup(m.Task)
		if !ok {
			t.Errorf("table 13 has %s, table 11 has not", m.Task)
			continue
		}
		base, _ := task.BestBase()
		tuned, _ := task.BestFinetuned()
		for i, want := range map[int]float64{0: tuned - task.Base[GPT4], 2: base, 4: tuned} {
			if math.Abs(m.Quality[i]-want) > 0.0011 {
				t.Errorf("%s: %s is %v, tables 11 and 12 give %v", m.Task, QualityNames()[i], m.Quality[i], want)
			}
		}
	}
}

func TestPublishedTables(t *testing.T) {
	if rows := Table3(); len(rows) != 32 || rows[31].Task != "average" || rows[0].OverGPT4 != -0.396 {
		t.Errorf("table 3: %d rows", len(rows))
	}
	if rows := Table4(); len(rows) != 13 || rows[12].AboveGPT4 != "224/310" || !math.IsNaN(rows[0].After) || rows[1].After != 0.645 {
		t.Errorf("table 4: %v", rows)
	}
	if rows := Table6(); len(rows) != 7 || rows[0].WithBase != 0.121 || !math.IsNaN(rows[2].WithBase) {
		t.Errorf("table 6: %v", rows)
	}
	rows, columns, rho := Figure8()
	if len(rows) != 7 || len(columns) != 21 || len(rho) != 7 || rho[0][1] != -0.79 {
		t.Errorf("figure 8: %d rows, %d columns", len(rows), len(columns))
	}
	if s := Servings(); len(s) != 42 || s[41] != (Serving{10, "30-500 input 1-120 output", 100, 2, 25, "token_streaming_ms", 3206.46, 5248.97}) {
		t.Errorf("serving: %d cells, last %v", len(s), s[len(s)-1])
	}
}

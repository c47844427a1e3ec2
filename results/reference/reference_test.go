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

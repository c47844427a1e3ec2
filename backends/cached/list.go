package cached

import (
	"fmt"
	"strings"
	"time"
)

// Use is what the cache holds of one model.
type Use struct {
	Backend, Model, Revision string
	Answers                  int64
	Bytes                    int64   // of the answers themselves
	CostUSD                  float64 // what they cost when they were made
	Oldest, Newest           time.Time
}

// List tells what the cache holds, by model.
func (s *Store) List() ([]Use, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.read == nil {
		return nil, errClosed
	}
	rows, err := s.read.Query(`SELECT m.backend, m.model, m.revision, count(*), sum(length(a.answer)),
		sum(a.cost_usd), min(a.created), max(a.created)
		FROM answers a JOIN models m ON m.id = a.model GROUP BY m.id ORDER BY 1, 2, 3`)
	if err != nil {
		return nil, fmt.Errorf("listing the response cache: %w", err)
	}
	defer rows.Close()
	var uses []Use
	for rows.Next() {
		var u Use
		var oldest, newest int64
		if err := rows.Scan(&u.Backend, &u.Model, &u.Revision, &u.Answers, &u.Bytes, &u.CostUSD, &oldest, &newest); err != nil {
			return nil, fmt.Errorf("listing the response cache: %w", err)
		}
		u.Oldest, u.Newest = time.Unix(oldest, 0), time.Unix(newest, 0)
		uses = append(uses, u)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing the response cache: %w", err)
	}
	return uses, nil
}

// Prune deletes answers and gives their number. A filter that is empty or zero
// does not filter: both so, everything goes. Model matches a backend's model by
// its whole name, or by its beginning where it ends with *.
func (s *Store) Prune(model string, before time.Time) (int64, error) {
	s.put.Lock()
	defer s.put.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.write == nil {
		return 0, errClosed
	}
	where, args := []string{"1"}, []any{}
	if prefix, ok := strings.CutSuffix(model, "*"); ok {
		where = append(where, "model IN (SELECT id FROM models WHERE substr(model, 1, length(?)) = ?)")
		args = append(args, prefix, prefix)
	} else if model != "" {
		where = append(where, "model IN (SELECT id FROM models WHERE model = ?)")
		args = append(args, model)
	}
	if !before.IsZero() {
		where = append(where, "created < ?")
		args = append(args, before.Unix())
	}
	res, err := s.write.Exec("DELETE FROM answers WHERE "+strings.Join(where, " AND "), args...)
	if err != nil {
		return 0, fmt.Errorf("pruning the response cache: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("pruning the response cache: %w", err)
	}
	if n > 0 {
		if _, err := s.write.Exec("VACUUM"); err != nil {
			return n, fmt.Errorf("giving the space of %d pruned answers back: %w", n, err)
		}
	}
	return n, nil
}

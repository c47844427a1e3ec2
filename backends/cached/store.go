package cached

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
)

// schemaVersion is the file's user_version.
const schemaVersion = 1

// schema: one row an answer. The table is its own index, so that a hit reads
// one page; models are kept apart, for listing and pruning.
const schema = `
CREATE TABLE IF NOT EXISTS models(
	id INTEGER PRIMARY KEY, backend TEXT NOT NULL, model TEXT NOT NULL, revision TEXT NOT NULL,
	UNIQUE(backend, model, revision));
CREATE TABLE IF NOT EXISTS answers(
	key BLOB PRIMARY KEY, model INTEGER NOT NULL, created INTEGER NOT NULL,
	cost_usd REAL NOT NULL, answer BLOB NOT NULL) WITHOUT ROWID;`

// A Store is a cache file. It may be used by several goroutines, backends and
// processes at once.
type Store struct {
	path string
	warn func(string)

	mu     sync.RWMutex // held for writing while the file is replaced
	read   *sql.DB
	write  *sql.DB
	get1   *sql.Stmt
	getN   *sql.Stmt
	gen    int        // how often the file was replaced
	put    sync.Mutex // one transaction of ours at a time
	closed bool
}

type modelID struct{ backend, model, revision string }

// batch is the number of keys that one query looks up.
const batch = 64

// OpenStore opens or makes the cache file. A file that is damaged, or is no
// cache, is moved aside and a new one begun; warn is told so (nil: nobody is).
func OpenStore(path string, warn func(string)) (*Store, error) {
	if warn == nil {
		warn = func(string) {}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the cache folder: %w", err)
	}
	s := &Store{path: path, warn: warn}
	err := s.open()
	if err != nil && damaged(err) {
		if err = s.moveAside(err); err == nil {
			err = s.open()
		}
	}
	if err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("opening the response cache %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) dsn(extra string) string {
	u := url.URL{Path: filepath.ToSlash(s.path)}
	return "file:" + u.EscapedPath() + "?_pragma=busy_timeout(30000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(NORMAL)&_pragma=cache_size(-16384)&_pragma=wal_autocheckpoint(4000)" + extra
}

func (s *Store) open() (err error) {
	if s.write, err = sql.Open("sqlite", s.dsn("&_txlock=immediate")); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	var version int
	if err = s.write.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > schemaVersion {
		return fmt.Errorf("its format %d is newer than this evalrun knows (%d)", version, schemaVersion)
	}
	if version < schemaVersion {
		tx, err := s.write.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.Exec(schema + fmt.Sprintf("PRAGMA user_version = %d;", schemaVersion)); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	if s.read, err = sql.Open("sqlite", s.dsn("&_pragma=query_only(1)")); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(2)
	s.read.SetMaxIdleConns(2)
	if s.get1, err = s.read.Prepare("SELECT key, answer FROM answers WHERE key = ?"); err != nil {
		return err
	}
	if s.getN, err = s.read.Prepare("SELECT key, answer FROM answers WHERE key IN (?" + strings.Repeat(",?", batch-1) + ")"); err != nil {
		return err
	}
	return nil
}

func (s *Store) closeFiles() error {
	var errs []error
	for _, st := range []*sql.Stmt{s.get1, s.getN} {
		if st != nil {
			errs = append(errs, st.Close())
		}
	}
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	s.get1, s.getN, s.read, s.write = nil, nil, nil, nil
	return errors.Join(errs...)
}

// damaged tells whether err says that the file is broken or is no database:
// SQLITE_CORRUPT and SQLITE_NOTADB, with their extended codes.
func damaged(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code()&0xff == 11 || e.Code()&0xff == 26)
}

// moveAside closes the file and renames it with its companions.
func (s *Store) moveAside(cause error) error {
	s.closeFiles()
	aside := fmt.Sprintf("%s.damaged-%s", s.path, time.Now().UTC().Format("20060102T150405.000"))
	if err := os.Rename(s.path, aside); err != nil {
		return fmt.Errorf("moving the damaged file aside: %w (it is damaged: %w)", err, cause)
	}
	for _, tail := range []string{"-wal", "-shm"} {
		if err := os.Rename(s.path+tail, aside+tail); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("moving the damaged file aside: %w", err)
		}
	}
	s.warn(fmt.Sprintf("the response cache %s is damaged (%v): moved to %s, a new one is begun", s.path, cause, filepath.Base(aside)))
	return nil
}

// mend replaces the file if err, met by the file's generation gen, says that it
// is damaged; it reports whether the work that met err can be tried again.
func (s *Store) mend(err error, gen int) bool {
	if !damaged(err) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.gen != gen {
		return s.write != nil // somebody mended it while we waited
	}
	s.gen++
	if err := s.moveAside(err); err != nil {
		s.warn(err.Error())
		return false
	}
	if err := s.open(); err != nil {
		s.warn(fmt.Sprintf("beginning a new response cache: %v", err))
		s.closeFiles()
		return false
	}
	return true
}

var errClosed = errors.New("the response cache is closed")

// get looks keys up, at most batch of them, and hands each stored answer to
// found; the bytes are valid during the call only.
func (s *Store) get(keys []Key, found func(k Key, answer []byte)) error {
	gen, err := s.getOnce(keys, found)
	if err != nil && s.mend(err, gen) {
		return nil // a new file holds nothing
	}
	return err
}

func (s *Store) getOnce(keys []Key, found func(k Key, answer []byte)) (gen int, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.read == nil {
		return s.gen, errClosed
	}
	if len(keys) < 4 {
		for i := range keys {
			if err := scan(s.get1, []any{keys[i][:]}, found); err != nil {
				return s.gen, err
			}
		}
		return s.gen, nil
	}
	args := make([]any, batch)
	for i := range args {
		args[i] = keys[min(i, len(keys)-1)][:] // the last one fills up
	}
	return s.gen, scan(s.getN, args, found)
}

func scan(st *sql.Stmt, args []any, found func(Key, []byte)) error {
	rows, err := st.Query(args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var key, answer sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&key, &answer); err != nil {
			return err
		}
		if len(key) == len(Key{}) {
			found(Key(key), answer)
		}
	}
	return rows.Err()
}

// row is an answer on its way into the file.
type row struct {
	key    Key
	model  modelID
	cost   float64
	answer []byte
}

// add stores rows in one transaction: when it returns without an error, they
// survive the end of the process. An answer that is there already stays.
func (s *Store) add(rows []row) error {
	s.put.Lock()
	defer s.put.Unlock()
	s.mu.RLock()
	gen, err := s.gen, s.addOnce(rows)
	s.mu.RUnlock()
	if err != nil && s.mend(err, gen) {
		s.mu.RLock()
		err = s.addOnce(rows)
		s.mu.RUnlock()
	}
	return err
}

// addOnce needs mu for reading.
func (s *Store) addOnce(rows []row) error {
	if s.write == nil {
		return errClosed
	}
	tx, err := s.write.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	ids := make(map[modelID]int64, 1)
	st, err := tx.Prepare("INSERT OR IGNORE INTO answers(key, model, created, cost_usd, answer) VALUES(?,?,?,?,?)")
	if err != nil {
		return err
	}
	defer st.Close()
	now := time.Now().Unix()
	for i := range rows {
		r := &rows[i]
		id, ok := ids[r.model]
		if !ok {
			if id, err = modelRow(tx, r.model); err != nil {
				return err
			}
			ids[r.model] = id
		}
		if _, err := st.Exec(r.key[:], id, now, r.cost, r.answer); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// remove deletes answers, so that better ones can take their place.
func (s *Store) remove(keys []Key) error {
	s.put.Lock()
	defer s.put.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.write == nil {
		return errClosed
	}
	for i := range keys {
		if _, err := s.write.Exec("DELETE FROM answers WHERE key = ?", keys[i][:]); err != nil {
			return err
		}
	}
	return nil
}

func modelRow(tx *sql.Tx, m modelID) (id int64, err error) {
	const find = "SELECT id FROM models WHERE backend = ? AND model = ? AND revision = ?"
	err = tx.QueryRow(find, m.backend, m.model, m.revision).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err
	}
	res, err := tx.Exec("INSERT INTO models(backend, model, revision) VALUES(?,?,?)", m.backend, m.model, m.revision)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// Close closes the file. Idempotent.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.closeFiles()
}

// Package dataset reads rows: from local files, from a folder of splits and
// from the Hugging Face hub, and selects the ones that a run is about.
//
// A [Source] can be read any number of times; each pass streams, so that memory
// depends on the longest row and never on the number of rows. Values keep the
// type that the source gives them: a JSON or Parquet integer is an int64, a
// JSON or Parquet floating-point number is a float64, text is a string, a truth
// value is a bool, a list is a []any, an object is a map[string]any, and null is
// nil. Cells of CSV and TSV files are always strings.
//
// Every error about content is a [core.UserError] whose Where is file:line, or
// file and row number where a format has no lines.
package dataset

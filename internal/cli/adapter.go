package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local/demo"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/merge"
	"github.com/evalrun/evalrun/core"
)

func newAdapter() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "adapter",
		Short: "look at adapters, compare, merge and export them",
		Example: "  evalrun adapter info --help\n" +
			"  evalrun adapter merge --help",
	}
	cmd.AddCommand(newAdapterInfo(), newAdapterDiff(), newAdapterMerge(), newAdapterExport())
	return cmd
}

// adapterModule is one module in --json.
type adapterModule struct {
	Module    string  `json:"module"`
	Outputs   int     `json:"outputs"`
	Inputs    int     `json:"inputs"`
	Rank      int     `json:"rank"`
	Scale     float32 `json:"scale"`
	Norm      float64 `json:"norm"`
	Magnitude bool    `json:"magnitude,omitempty"`
}

// adapterInfo is an adapter in --json.
type adapterInfo struct {
	Path       string          `json:"path"`
	Hash       string          `json:"hash"`
	Base       string          `json:"base"`
	Kind       string          `json:"kind"`
	Rank       int             `json:"rank"`
	Alpha      float64         `json:"alpha"`
	Parameters int             `json:"parameters"`
	Norm       float64         `json:"norm"`
	Modules    []adapterModule `json:"modules"`
}

func newAdapterInfo() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info DIR",
		Short: "what an adapter is and how much it changes, module by module",
		Long: "Info reads an adapter as PEFT writes it. The norm is that of what is added to a module's\n" +
			"weight, the square root of the sum of squares of scale·B·A.",
		Example: "  evalrun adapter info DIR\n" +
			"  evalrun adapter info DIR --json",
		Args: exactlyOne("the adapter's folder", "evalrun adapter info adapters/glue_sst2-demo"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, _, err := openAdapter(args[0])
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// openAdapter reads an adapter whole.
func openAdapter(dir string) (*adapterInfo, []lora.Pair, error) {
	wrong := func(err error) error {
		return &core.UserError{Where: dir, Message: "reading the adapter", Err: err, Hint: "give a folder with adapter_config.json and adapter_model.safetensors"}
	}
	a, err := lora.Open(dir)
	if err != nil {
		return nil, nil, wrong(err)
	}
	defer a.Close()
	pairs, others, err := a.Pairs()
	if err != nil {
		return nil, nil, wrong(err)
	}
	hash, err := a.Hash()
	if err != nil {
		return nil, nil, wrong(err)
	}
	kind := "LoRA"
	switch {
	case a.Config.DoRA:
		kind = "DoRA"
	case a.Config.RSLoRA:
		kind = "rsLoRA"
	}
	info := &adapterInfo{Path: dir, Hash: hash, Base: a.Config.Base, Kind: kind, Rank: a.Config.Rank, Alpha: a.Config.Alpha, Parameters: others}
	sum := 0.0
	for i := range pairs {
		p := &pairs[i]
		norm := p.Norm()
		sum += norm * norm
		info.Parameters += len(p.A) + len(p.B) + len(p.Magnitude)
		info.Modules = append(info.Modules, adapterModule{p.Path, p.N, p.K, p.Rank, p.Scale, norm, p.Magnitude != nil})
	}
	info.Norm = math.Sqrt(sum)
	return info, pairs, nil
}

func (a *adapterInfo) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(a)
	}
	base := a.Base
	if base == "" {
		base = "an unnamed base"
	}
	fmt.Fprintf(w, "%s of rank %d, alpha %g, for %s\n%s parameters in %d modules\n%s\n\n", a.Kind, a.Rank, a.Alpha, base, short(float64(a.Parameters)), len(a.Modules), a.Hash)
	t := plainTable(table.Row{"module", "outputs", "inputs", "rank", "scale", "norm"}, 2, 6)
	for _, m := range a.Modules {
		t.AppendRow(table.Row{m.Module, m.Outputs, m.Inputs, m.Rank, fmt.Sprintf("%.4g", m.Scale), fmt.Sprintf("%.4g", m.Norm)})
	}
	fmt.Fprintln(w, t.Render())
	return nil
}

// adapterDiff is a module of two adapters in --json; a norm of null is a
// module that this one does not change.
type adapterDiff struct {
	Module   string   `json:"module"`
	A        *float64 `json:"a"`
	B        *float64 `json:"b"`
	Cosine   *float64 `json:"cosine"`
	Distance *float64 `json:"distance"`
}

func newAdapterDiff() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "how far two adapters of one base are apart, module by module",
		Long: "Diff compares what two adapters add to each weight: the norms, the cosine between them, and\n" +
			"the norm of the difference over that of A. DoRA's magnitudes are not part of it.",
		Example: "  evalrun adapter diff A B\n" +
			"  evalrun adapter diff A B --json",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, first, err := openAdapter(args[0])
			if err != nil {
				return err
			}
			b, second, err := openAdapter(args[1])
			if err != nil {
				return err
			}
			rows, err := diffPairs(args, first, second)
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			if asJSON {
				return json.NewEncoder(w).Encode(map[string]any{"same_files": a.Hash == b.Hash, "modules": rows})
			}
			if a.Hash == b.Hash {
				fmt.Fprintln(w, "the same files, byte for byte")
				return nil
			}
			fmt.Fprintf(w, "A: %s of rank %d, alpha %g for %s\nB: %s of rank %d, alpha %g for %s\n\n", a.Kind, a.Rank, a.Alpha, a.Base, b.Kind, b.Rank, b.Alpha, b.Base)
			t := plainTable(table.Row{"module", "norm A", "norm B", "cosine", "‖A−B‖/‖A‖"}, 2, 5)
			text := func(v *float64) string {
				if v == nil {
					return "–"
				}
				return fmt.Sprintf("%.4g", *v)
			}
			for _, r := range rows {
				t.AppendRow(table.Row{r.Module, text(r.A), text(r.B), text(r.Cosine), text(r.Distance)})
			}
			fmt.Fprintln(w, t.Render())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func diffPairs(dirs []string, a, b []lora.Pair) ([]adapterDiff, error) {
	var out []adapterDiff
	second := map[string]*lora.Pair{}
	for i := range b {
		second[b[i].Path] = &b[i]
	}
	for i := range a {
		p := &a[i]
		norm := p.Norm()
		d := adapterDiff{Module: p.Path, A: &norm}
		if q := second[p.Path]; q != nil {
			delete(second, p.Path)
			if q.N != p.N || q.K != p.K {
				return nil, &core.UserError{Where: dirs[1], Message: fmt.Sprintf("%s is %d×%d, and %d×%d in %s", p.Path, q.N, q.K, p.N, p.K, dirs[0]), Hint: "compare adapters of the same base"}
			}
			other, dot := q.Norm(), p.Dot(q)
			d.B = &other
			if norm > 0 && other > 0 {
				cosine := dot / norm / other
				d.Cosine = &cosine
			}
			if norm > 0 {
				distance := math.Sqrt(max(0, norm*norm+other*other-2*dot)) / norm
				d.Distance = &distance
			}
		}
		out = append(out, d)
	}
	for i := range b {
		if second[b[i].Path] != nil {
			norm := b[i].Norm()
			out = append(out, adapterDiff{Module: b[i].Path, B: &norm})
		}
	}
	return out, nil
}

func newAdapterMerge() *cobra.Command {
	var model, adapter, out, onto string
	cmd := &cobra.Command{
		Use:   "merge --model BASE --adapter DIR --out DIR",
		Short: "write a model with an adapter merged in, for serving elsewhere",
		Long: "Merge adds scale·B·A to the weights of a Hugging Face folder (for DoRA, what it makes of that)\n" +
			"and writes a folder of the same files. --onto bf16 takes the base as it is stored; dequant takes\n" +
			"what it was in training, its linear weights rounded to NF4 and back. An evaluation needs no\n" +
			"merged model: --adapter keeps base and adapter apart.",
		Example: "  evalrun adapter merge --model DIR --adapter adapters/mine --out merged\n" +
			"  evalrun adapter merge --model DIR --adapter adapters/mine --out merged --onto dequant",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, f := range [][2]string{{"--model", model}, {"--adapter", adapter}, {"--out", out}} {
				if f[1] == "" {
					return &core.UserError{Where: f[0], Message: "is missing", Hint: "write evalrun adapter merge --model BASE --adapter DIR --out DIR"}
				}
			}
			if onto != merge.Stored && onto != merge.Dequant {
				return &core.UserError{Where: "--onto " + onto, Message: "there is no such way", Hint: "one of: " + merge.Stored + ", " + merge.Dequant}
			}
			r, err := merge.Write(model, adapter, out, onto)
			if err != nil {
				return &core.UserError{Message: "merging", Err: err, Hint: "give the base that the adapter was trained on, a folder with config.json and *.safetensors, and a new folder for the model"}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n  %d of %d tensors changed, %s in %d files\n", out, r.Merged, r.Tensors, binary(r.Bytes), r.Files)
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&model, "model", "", "folder of the base")
	fl.StringVar(&adapter, "adapter", "", "folder of the adapter")
	fl.StringVar(&out, "out", "", "folder for the merged model; it must not be there yet")
	fl.StringVar(&onto, "onto", merge.Stored, "what is added to: bf16 (the base as stored) or dequant (as it was in training)")
	return cmd
}

func newAdapterExport() *cobra.Command {
	var model, adapter, out string
	var force bool
	cmd := &cobra.Command{
		Use:   "export [--model BASE] --adapter DIR --gguf FILE",
		Short: "write an adapter as llama.cpp reads it, beside a GGUF base",
		Long: "Export writes a GGUF file that llama.cpp's --lora takes. Of the base its shape is read: from\n" +
			"config.json of a Hugging Face folder, or from the GGUF file itself. LoRA and rsLoRA can be\n" +
			"exported; DoRA is for adapter merge.",
		Example: "  evalrun adapter export --model DIR --adapter adapters/mine --gguf mine.gguf\n" +
			"  evalrun train glue_sst2 --data embedded --steps 8 --set recipe.accumulate=4 --quiet && evalrun adapter export --adapter adapters/glue_sst2-demo --gguf sst2.gguf",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, f := range [][2]string{{"--adapter", adapter}, {"--gguf", out}} {
				if f[1] == "" {
					return &core.UserError{Where: f[0], Message: "is missing", Hint: "write evalrun adapter export --model BASE --adapter DIR --gguf FILE"}
				}
			}
			if st, err := os.Lstat(out); err == nil && (!force || st.IsDir()) {
				u := &core.UserError{Where: "--gguf " + out, Message: "is there already, and stays as it is", Hint: "choose another name; --force writes over it"}
				if st.IsDir() {
					u.Message, u.Hint = "is a folder", "name a file in it, such as "+filepath.Join(out, "adapter.gguf")
				}
				return u
			}
			if model == "" {
				var err error
				if model, err = demo.File(); err != nil {
					return fmt.Errorf("unpack the demonstration model: %w", err)
				}
			}
			if err := merge.GGUF(model, adapter, out); err != nil {
				return &core.UserError{Message: "exporting", Err: err, Hint: "give the base that the adapter was trained on with --model, a folder with config.json or a .gguf file"}
			}
			fmt.Fprintln(cmd.OutOrStdout(), out)
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&model, "model", "", "base: a folder with config.json, or a .gguf file (default: the embedded demonstration model)")
	fl.StringVar(&adapter, "adapter", "", "folder of the adapter")
	fl.StringVar(&out, "gguf", "", "file to write; it must not be there yet")
	fl.BoolVar(&force, "force", false, "write over a file that is there")
	return cmd
}

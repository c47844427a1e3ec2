package local

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/device"
	"github.com/evalrun/evalrun/backends/local/engine"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/extract"
	"github.com/evalrun/evalrun/kernels/cuda/driver"
)

// ShapeOnly is the option of who asks for Info alone and will send nothing: the
// answer comes without the model's hash and device, and costs no memory.
const ShapeOnly = "shape_only"

// settings are what a user may choose with --device, --adapter and --opt.
type settings struct {
	engine.Options
	refuseLong bool // an input longer than the context is an error
	noUntil    bool // Request.Until is passed over
	chat       bool // messages are the preferred form of input
	shapeOnly  bool // Info tells what needs no weights, and loads none
	patterns   *patterns
}

func settingsOf(c core.Config) (settings, error) {
	o := settings{patterns: &patterns{held: map[core.Pattern]*extract.Pattern{}}}
	if err := device.Check(c.Device); err != nil {
		hint := "this build computes on: " + strings.Join(device.Names(), ", ")
		if errors.Is(err, driver.ErrNotBuilt) {
			hint = deviceHint(err)
		}
		return o, &core.UserError{Where: "--device " + c.Device, Message: err.Error(), Hint: hint}
	}
	o.DeviceName = c.Device
	for _, a := range c.Adapters {
		o.Adapters = append(o.Adapters, engine.AdapterPath{Name: a.Name, Path: a.Path})
	}
	var kvMB, adapterMB, adapterHostMB int
	dtype, quant := "", ""
	ints := map[string]*int{"threads": &o.Threads, "context": &o.Context, "kv_mb": &kvMB, "sequences": &o.Sequences, "batch_rows": &o.BatchRows,
		"adapter_mb": &adapterMB, "adapter_host_mb": &adapterHostMB}
	for _, name := range slices.Sorted(maps.Keys(c.Options)) {
		value := c.Options[name]
		where := "--opt " + name + "=" + value
		switch name {
		case "dtype", "quant":
			if name == "dtype" {
				dtype = value
			} else {
				quant = value
			}
			var err error
			if o.Weights, err = arch.ParseOptions(dtype, quant); err != nil {
				return o, &core.UserError{Where: where, Message: err.Error(), Hint: "docs/backends.md lists the settings of local models"}
			}
		case "overflow":
			if value != "keep_tail" && value != "error" {
				return o, &core.UserError{Where: where, Message: "unknown", Hint: "keep_tail drops tokens at the front and counts them, error refuses the input"}
			}
			o.refuseLong = value == "error"
		case "until":
			if value != "on" && value != "off" {
				return o, &core.UserError{Where: where, Message: "unknown", Hint: "on ends an answer once its extraction cannot change, off never does"}
			}
			o.noUntil = value == "off"
		case ShapeOnly:
			o.shapeOnly = true
		case "form":
			if value != string(core.FormCompletion) && value != string(core.FormChat) {
				return o, &core.UserError{Where: where, Message: "unknown", Hint: "completion sends a task's prompt as it is, chat through the model's chat template"}
			}
			o.chat = value == string(core.FormChat)
		default:
			dst := ints[name]
			if dst == nil {
				known := append(slices.Sorted(maps.Keys(ints)), "dtype", "quant", "overflow", "until", "form")
				return o, &core.UserError{Where: where, Message: "the local backend has no such setting", Hint: "settings: " + strings.Join(known, ", ")}
			}
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > 1<<30 {
				return o, &core.UserError{Where: where, Message: "not a whole number from 1 up", Hint: "docs/backends.md lists the settings of local models"}
			}
			*dst = n
		}
	}
	o.KVBytes, o.AdapterBytes, o.AdapterHostBytes = int64(kvMB)<<20, int64(adapterMB)<<20, int64(adapterHostMB)<<20
	return o, nil
}

// preferred is the form of input that a task's prompts take.
func (o settings) preferred(in *inputs) (core.Form, error) {
	if !o.chat {
		return core.FormCompletion, nil
	}
	if in.broken != nil {
		return "", &core.UserError{Where: "--opt form=chat", Message: "the model's chat template cannot be read", Hint: "leave the option out to send prompts as they are", Err: in.broken}
	}
	if !in.chats() {
		return "", &core.UserError{Where: "--opt form=chat", Message: "the model has no chat template", Hint: "put chat_template.jinja into its folder, or leave the option out to send prompts as they are"}
	}
	return core.FormChat, nil
}

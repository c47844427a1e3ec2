package training

import (
	"encoding/json"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core"
)

// Recipe is the JSON text of settings over each other: those of a task, those
// of --set (recipe.lr=1e-4, the values as YAML), and those of flags. Epochs of
// --set take the place of a task's steps too. Which keys there are, the trainer
// says.
func Recipe(task map[string]any, sets []string, flags map[string]any) (string, error) {
	all := map[string]any{}
	for k, v := range task {
		all[k] = v
	}
	said := map[string]any{}
	for _, s := range sets {
		key, value, ok := strings.Cut(s, "=")
		key, own := strings.CutPrefix(key, setPrefix)
		if !ok || !own || key == "" {
			return "", &core.UserError{Where: "--set " + s, Message: "not of the form recipe.KEY=VALUE", Hint: "for example --set recipe.lr=1e-4; docs/train.md lists the keys"}
		}
		var v any
		if err := yaml.Unmarshal([]byte(value), &v); err != nil {
			return "", &core.UserError{Where: "--set " + s, Message: "the value is not readable as YAML", Err: err, Hint: "put it in quotes"}
		}
		all[key], said[key] = v, v
	}
	if _, steps := said["steps"]; !steps && said["epochs"] != nil && said["epochs"] != 0 {
		delete(all, "steps")
	}
	for k, v := range flags {
		all[k] = v
	}
	for _, list := range []string{"targets"} { // one name is a list of it
		if s, ok := all[list].(string); ok {
			all[list] = []string{s}
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return "", fmt.Errorf("recipe: %w", err)
	}
	return string(text), nil
}

const setPrefix = "recipe."

// SplitSet parts --set's values into those of the recipe and those of the task
// file.
func SplitSet(sets []string) (recipe, task []string) {
	for _, s := range sets {
		if strings.HasPrefix(s, setPrefix) {
			recipe = append(recipe, s)
		} else {
			task = append(task, s)
		}
	}
	return recipe, task
}

// Monitor is what a recipe's text says to follow; empty where it does not say.
func Monitor(recipe string) string {
	var keys struct{ Monitor string }
	if json.Unmarshal([]byte(recipe), &keys) != nil {
		return ""
	}
	return keys.Monitor
}

// Evaluations is what an effective recipe's text says of them: every how many of
// its steps one is due, and whether the best one's adapter is left, or the last.
func Evaluations(recipe string) (every, steps int, best bool) {
	var keys struct {
		Every int `json:"eval_every"`
		Steps int `json:"steps"`
		Best  bool
	}
	if json.Unmarshal([]byte(recipe), &keys) != nil {
		return 0, 0, false
	}
	return keys.Every, keys.Steps, keys.Best
}

// Preset is the preset of a recipe's text; paper where it names none.
func Preset(recipe string) string {
	keys := struct{ Preset string }{"paper"}
	if json.Unmarshal([]byte(recipe), &keys) != nil {
		return ""
	}
	return keys.Preset
}

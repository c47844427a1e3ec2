package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/evalrun/evalrun/core/text"
)

// Dict is an object whose keys keep their order; DecodeJSON makes them, and a
// template sees them as dicts.
type (
	Dict = text.Dict
	Pair = text.Pair
)

// DecodeJSON reads one JSON value as a template sees it in Python: objects keep
// the order of their keys (of equal keys the last value counts), integers stay
// integers.
func DecodeJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxInput {
		return nil, fmt.Errorf("nested more than %d deep", maxInput)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('['):
		items := []any{}
		for d.More() {
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			items = append(items, v)
		}
		_, err = d.Token()
		return items, err
	case json.Delim('{'):
		dict, at := Dict{}, map[string]int{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			key := k.(string)
			if i, ok := at[key]; ok {
				dict[i].Value = v
				continue
			}
			at[key] = len(dict)
			dict = append(dict, Pair{Key: key, Value: v})
		}
		_, err = d.Token()
		return dict, err
	}
	return t, nil
}

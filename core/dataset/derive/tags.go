package derive

import (
	"fmt"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core/text"
)

// tagged reads the tokens, their tags (indices into names, or names) and the
// names, which are the first three arguments.
func tagged(name string, a []any) (tokens, tags, known []string, err error) {
	if tokens, err = textsOf(name, "tokens", a[0]); err != nil {
		return nil, nil, nil, err
	}
	if known, err = textsOf(name, "names", a[2]); err != nil {
		return nil, nil, nil, err
	}
	list, err := listOf(name, "tags", a[1])
	if err != nil {
		return nil, nil, nil, err
	}
	if len(list) != len(tokens) {
		return nil, nil, nil, fmt.Errorf("%s: %d tokens but %d tags", name, len(tokens), len(list))
	}
	tags = make([]string, len(list))
	for i, tag := range list {
		if s, ok := tag.(string); ok {
			if !slices.Contains(known, s) {
				return nil, nil, nil, fmt.Errorf("%s: tag %q of token %d is not among the names", name, s, i)
			}
			tags[i] = s
			continue
		}
		n, ok := whole(tag)
		if !ok || n < 0 || n >= len(known) {
			return nil, nil, nil, fmt.Errorf("%s: tag %s of token %d is not an index into the %d names", name, text.Repr(tag), i, len(known))
		}
		tags[i] = known[n]
	}
	return tokens, tags, known, nil
}

// outside is the tag of tokens that belong to no entity.
const outside = "O"

func tagLists(a ...any) (any, error) {
	const name = "tag_lists"
	tokens, tags, known, err := tagged(name, a)
	if err != nil {
		return nil, err
	}
	lists := make(map[string]any)
	var order []string
	for _, tag := range known {
		if tag != outside && lists[tag] == nil {
			lists[tag] = []any{}
			order = append(order, tag)
		}
	}
	for i, tag := range tags {
		if tag != outside {
			lists[tag] = append(lists[tag].([]any), tokens[i])
		}
	}
	return dumps(lists, order)
}

// entityLists merges as conlleval does: B-X begins a span; I-X continues a span
// of X, and begins one where none is open.
func entityLists(a ...any) (any, error) {
	const name = "entity_lists"
	tokens, tags, known, err := tagged(name, a)
	if err != nil {
		return nil, err
	}
	keys, order, err := entityKeys(name, a[3], known)
	if err != nil {
		return nil, err
	}
	lists := make(map[string]any)
	for _, key := range order {
		lists[key] = []any{}
	}
	kind, span := "", []string(nil)
	flush := func() error {
		if len(span) == 0 {
			return nil
		}
		key, ok := keys[kind]
		if !ok {
			return fmt.Errorf("%s: keys has no entry for %q", name, kind)
		}
		lists[key] = append(lists[key].([]any), strings.Join(span, " "))
		span = nil
		return nil
	}
	for i, tag := range tags {
		prefix, k, ok := strings.Cut(tag, "-")
		switch {
		case tag == outside:
			k = ""
		case !ok || prefix != "B" && prefix != "I":
			return nil, fmt.Errorf("%s: tag %q of token %d is neither O, B-… nor I-…", name, tag, i)
		}
		if k != kind || prefix == "B" {
			if err := flush(); err != nil {
				return nil, err
			}
			kind = k
		}
		if k != "" {
			span = append(span, tokens[i])
		}
	}
	if err := flush(); err != nil {
		return nil, err
	}
	return dumps(lists, order)
}

// entityKeys reads the fourth argument: a map from kind to key, whose order is
// that in which the tag names first mention the kinds, or [kind, key] pairs.
func entityKeys(name string, v any, known []string) (keys map[string]string, order []string, err error) {
	v, err = settle(v)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: keys: %w", name, err)
	}
	keys = make(map[string]string)
	add := func(kind string, key any) error {
		s, ok := key.(string)
		if !ok {
			return fmt.Errorf("%s: the key of %q is %s, not a text", name, kind, nameOf(key))
		}
		keys[kind] = s
		if !slices.Contains(order, s) {
			order = append(order, s)
		}
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for _, tag := range known {
			if _, kind, ok := strings.Cut(tag, "-"); ok && keys[kind] == "" {
				if key, ok := v[kind]; ok {
					if err := add(kind, key); err != nil {
						return nil, nil, err
					}
				}
			}
		}
		if len(keys) < len(v) {
			for kind := range v {
				if keys[kind] == "" {
					return nil, nil, fmt.Errorf("%s: no tag name mentions the kind %q", name, kind)
				}
			}
		}
	case []any:
		for i, e := range v {
			pair, ok := e.([]any)
			if !ok || len(pair) != 2 {
				return nil, nil, fmt.Errorf("%s: element %d of keys is not a [kind, key] pair", name, i)
			}
			kind, ok := pair[0].(string)
			if !ok {
				return nil, nil, fmt.Errorf("%s: the kind of pair %d is %s, not a text", name, i, nameOf(pair[0]))
			}
			if err := add(kind, pair[1]); err != nil {
				return nil, nil, err
			}
		}
	default:
		return nil, nil, fmt.Errorf("%s: keys is %s, not a map", name, nameOf(v))
	}
	return keys, order, nil
}

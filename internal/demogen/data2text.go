package demogen

import (
	"fmt"
	"strconv"
	"strings"
)

// e2e describes a place to eat from attributes in any order.
func e2e(g *gen) item {
	type attr struct{ key, val, phrase string }
	name, typ := g.x("{pubname}"), g.x("{e_type}")
	if g.w == TrainWorld && g.p(0.3) {
		typ = g.of("restaurant", "pub", "coffee shop")
	}
	family := g.of("yes", "no")
	all := []attr{{"eatType", typ, ""}, {"food", g.x("{e_food}"), ""}, {"priceRange", g.x("{e_price}"), ""},
		{"customer rating", g.x("{e_rating}"), ""}, {"area", g.x("{e_area}"), ""}, {"familyFriendly", family, ""}, {"near", g.x("{pubname}"), ""}}
	perm := g.r.Perm(len(all))
	k := g.n(2, 6)
	has := map[string]string{}
	mr := []string{"name[" + name + "]"}
	for _, i := range perm[:k] {
		has[all[i].key] = all[i].val
	}
	order := perm[:k]
	if g.p(0.5) { // the order of the data set
		order = order[:0:0]
		for i := range all {
			if _, ok := has[all[i].key]; ok {
				order = append(order, i)
			}
		}
	}
	for _, i := range order {
		mr = append(mr, all[i].key+"["+all[i].val+"]")
	}
	g.set("name", name)
	g.set("price", has["priceRange"])
	g.set("food", has["food"])
	g.set("type", has["eatType"])
	g.set("area", has["area"])
	g.set("near", has["near"])
	g.set("rating", has["customer rating"])
	np := has["eatType"]
	if np == "" {
		np = "place"
	}
	if has["food"] != "" {
		np = has["food"] + " " + np
	}
	if p := has["priceRange"]; p != "" && !strings.Contains(p, "£") && g.p(0.7) {
		np = p + " " + np
		delete(has, "priceRange")
	}
	if family == "yes" && has["familyFriendly"] != "" && g.p(0.4) {
		np = "family friendly " + np
		delete(has, "familyFriendly")
	}
	art := "a"
	if strings.ContainsAny(np[:1], "aeiouAEIOU") {
		art = "an"
	}
	g.set("np", art+" "+np)
	s := capital(g.x("{e_open}"))
	where := ""
	if has["area"] != "" {
		where += g.x("{e_inarea}")
	}
	if has["near"] != "" {
		where += g.x("{e_near}")
	}
	s += where + "."
	for _, key := range []string{"priceRange", "customer rating", "familyFriendly"} {
		if has[key] == "" {
			continue
		}
		switch key {
		case "priceRange":
			s += " " + g.x("{e_pricesent}")
		case "customer rating":
			s += " " + g.x("{e_ratesent}")
		default:
			s += " " + g.x("{e_fam_"+family+"}")
		}
	}
	return item{row: row("meaning_representation", strings.Join(mr, ", "), "human_reference", strings.ReplaceAll(s, " ,", ","))}
}

// viggo turns a dialogue act about a video game into words.
func viggo(g *gen) item {
	act := g.of("inform", "inform", "give_opinion", "confirm", "verify_attribute", "suggest", "request", "recommend", "request_attribute", "request_explanation")
	name := g.x("{viggo_name}")
	year := g.x("{1980-2024}")
	gen1, plat, rating := g.x("{v_genre}"), g.x("{v_plat}"), g.x("{v_rating}")
	dev, persp, esrb := g.x("{made} Studios"), g.x("{v_persp}"), g.x("{v_esrb}")
	for k, v := range map[string]string{"name": name, "year": year, "genre": gen1, "plat": plat, "rating": rating, "dev": dev, "persp": persp, "esrb": esrb} {
		g.set(k, v)
	}
	spec := g.x("{v_spec}")
	g.set("spec", spec)
	type attr struct{ mr, say string }
	multi, steam, mac := g.of("yes", "no"), g.of("yes", "no"), g.of("yes", "no")
	opts := []attr{
		{"release_year[" + year + "]", "{vs_year}"}, {"genres[" + gen1 + "]", "{vs_genre}"}, {"platforms[" + plat + "]", "{vs_plat}"},
		{"developer[" + dev + "]", "{vs_dev}"}, {"player_perspective[" + persp + "]", "{vs_persp}"}, {"esrb[" + esrb + "]", "{vs_esrb}"},
		{"has_multiplayer[" + multi + "]", "{vs_multi_" + multi + "}"}, {"available_on_steam[" + steam + "]", "{vs_steam_" + steam + "}"},
		{"has_mac_release[" + mac + "]", "{vs_mac_" + mac + "}"},
	}
	perm := g.r.Perm(len(opts))
	var mr []string
	var s string
	switch act {
	case "request":
		mr = []string{"specifier[" + spec + "]"}
		if g.p(0.4) {
			mr = append(mr, g.of("genres["+gen1+"]", "platforms["+plat+"]"))
		}
		g.set("ctx", "")
		if len(mr) > 1 {
			if strings.HasPrefix(mr[1], "genres") {
				g.set("ctx", gen1+" ")
			} else {
				g.set("ctx", plat+" ")
			}
		}
		s = g.x("{va_request}")
	case "request_attribute":
		keys := []string{"genres", "platforms", "release_year", "developer", "has_multiplayer", "available_on_steam", "player_perspective", "esrb"}
		key := keys[g.n(0, len(keys)-1)]
		mr = []string{key + "[]"}
		s = g.x("{va_ask_" + key + "}")
	default:
		mr = []string{"name[" + name + "]"}
		if act == "give_opinion" || act == "request_explanation" || act == "verify_attribute" {
			mr = append(mr, "rating["+rating+"]")
			s = g.x("{va_" + act + "}")
		} else if act != "inform" {
			s = g.x("{va_" + act + "}")
		}
		n := g.n(1, 3)
		if act == "inform" {
			n = g.n(2, 4)
		}
		for i, k := range perm[:n] {
			mr = append(mr, opts[k].mr)
			say := g.x(opts[k].say)
			switch {
			case act == "inform" && i == 0:
				s = name + " " + say + "."
			case i == 1:
				s += " It also " + say + "."
			default:
				s += " " + g.of("It", "The game") + " " + say + "."
			}
		}
		if act == "recommend" || act == "confirm" || act == "suggest" || act == "request_explanation" {
			if g.p(0.5) {
				s = s[:len(s)-1] + g.of("?", ", right?")
			}
		}
	}
	mrs := act + "(" + strings.Join(mr, ", ") + ")"
	return item{row: row("gem_id", fmt.Sprintf("viggo-gen-%d", g.n(0, 9999)), "meaning_representation", mrs, "target", s, "references", []string{s})}
}

// webnlg puts one to three triples about one subject into words.
func webnlg(g *gen) item {
	subj := g.x(g.of("{person}", "{made}", "{city}", "The {made}", "{made} {thing}", "{made} Airport"))
	n := g.n(1, 3)
	rels := g.some0("w_rel", n)
	var triples, says []string
	for i, e := range rels {
		p := parts(e)
		o := g.x("{" + p[1] + "}")
		obj := strings.ReplaceAll(capital(o), " ", "_")
		triples = append(triples, strings.ReplaceAll(subj, " ", "_")+" | "+p[0]+" | "+obj)
		s := subj
		if i > 0 {
			s = g.of(subj, "it", subj)
		}
		g.set("s", s)
		g.set("o", capital(o))
		f := p[2:]
		t := g.x(f[g.n(0, len(f)-1)])
		if strings.HasSuffix(t, ",") {
			t = g.x(f[0])
		}
		says = append(says, strings.TrimSuffix(strings.TrimSuffix(t, "."), " "))
	}
	text := capital(says[0])
	for i, s := range says[1:] {
		if g.p(0.4) && i == 0 {
			text += " and " + s
		} else {
			text += ". " + capital(s)
		}
	}
	text = strings.ReplaceAll(text, " 's", "'s") + "."
	none := []string{}
	return item{vars: map[string]string{"modified_triple_set_preprocessed": strings.Join(triples, "\n"), "lex_preprocessed": text},
		row: row("category", "Generated", "size", n, "eid", "Id"+strconv.Itoa(g.n(1, 999)),
			"original_triple_sets", row("otriple_set", [][]string{triples}), "modified_triple_sets", row("mtriple_set", [][]string{triples}),
			"shape", "", "shape_type", "NA", "lex", row("comment", []string{"good"}, "lid", []string{"Id1"}, "text", []string{text}, "lang", []string{""}),
			"test_category", "", "dbpedia_links", none, "links", none)}
}

// some0 picks k different entries without expanding them.
func (g *gen) some0(name string, k int) []string {
	l := g.list(name)
	perm := g.r.Perm(len(l))
	var out []string
	for _, i := range perm[:min(k, len(l))] {
		out = append(out, l[i])
	}
	return out
}

// wikisql is a small table, a question and its query as WikiSQL prints it.
func wikisql(g *gen) item {
	nt, nn := g.n(2, 3), g.n(1, 2)
	head := append(g.some("sql_text", nt), g.some("sql_num", nn)...)
	types := make([]string, len(head))
	for i := range types {
		types[i] = "text"
		if i >= nt {
			types[i] = "real"
		}
	}
	g.r.Shuffle(len(head), func(i, j int) { head[i], head[j] = head[j], head[i]; types[i], types[j] = types[j], types[i] })
	rows := make([][]string, g.n(1, 4))
	for r := range rows {
		for c := range head {
			v := g.x("{" + g.of("made", "person", "city", "made") + "}")
			if types[c] == "real" {
				v = strconv.Itoa(g.n(1, 2020))
			}
			rows[r] = append(rows[r], v)
		}
	}
	perm := g.r.Perm(len(head))
	sel, cond := perm[0], perm[1]
	val := rows[g.n(0, len(rows)-1)][cond]
	op := "="
	opIdx := 0
	agg := ""
	aggIdx := 0
	word := "{sq_plain}"
	g.set("sel", strings.ToLower(head[sel]))
	g.set("Sel", head[sel])
	g.set("cond", strings.ToLower(head[cond]))
	g.set("val", val)
	switch {
	case types[cond] == "real" && g.p(0.3):
		if g.p(0.5) {
			op, opIdx, word = ">", 1, "{sq_gt}"
		} else {
			op, opIdx, word = "<", 2, "{sq_lt}"
		}
	case types[sel] == "real" && g.p(0.4):
		if g.p(0.5) {
			agg, aggIdx, word = "MAX", 1, "{sq_max}"
		} else {
			agg, aggIdx, word = "MIN", 2, "{sq_min}"
		}
	case g.p(0.2):
		agg, aggIdx, word = "COUNT", 3, "{sq_count}"
	}
	q := capital(g.x(word))
	condIdx, opsIdx, vals := []int{cond}, []int{opIdx}, []string{val}
	s := head[sel]
	if agg != "" {
		s = agg + " " + s
	}
	human := "SELECT " + s + " FROM table WHERE " + head[cond] + " " + op + " " + val
	if len(perm) > 2 && op == "=" && g.p(0.25) {
		v2 := ""
		for _, r := range rows {
			if r[cond] == val {
				v2 = r[perm[2]]
			}
		}
		g.set("cond2", strings.ToLower(head[perm[2]]))
		g.set("val2", v2)
		q = strings.TrimSuffix(q, "?") + g.x(" {sq_and}?")
		human += " AND " + head[perm[2]] + " = " + v2
		condIdx, opsIdx, vals = append(condIdx, perm[2]), append(opsIdx, 0), append(vals, v2)
	}
	caption := g.x("{made} {thing}s")
	table := row("header", head, "page_title", caption, "page_id", "", "types", types, "id", "2-"+strconv.Itoa(g.n(10000, 99999))+"-1",
		"section_title", "", "caption", caption, "rows", rows, "name", "")
	return item{vars: map[string]string{"table": tableText(head, types, rows), "sql": human},
		row: row("phase", 2, "question", q, "table", table, "sql", row("human_readable", human, "sel", sel, "agg", aggIdx,
			"conds", row("column_index", condIdx, "operator_index", opsIdx, "condition", vals)))}
}

// news makes a newsletter item and its headline.
func (g *gen) news() (head, text string) {
	p := g.variants("tl_head")
	for _, k := range []string{"co", "co2", "obj", "adj", "use", "do"} {
		list := strings.TrimSuffix(k, "2")
		g.set(k, g.x("{tl_"+list+"}"))
	}
	g.set("q", g.bind["adj"])
	g.seti("n", g.n(2, 900))
	g.set("name", g.x("{made}"))
	g.set("place2", g.x("{country}"))
	return g.X(p[0]), g.X(p[1])
}

func tldr(g *gen) item {
	h, t := g.news()
	if g.w == TrainWorld && g.p(0.3) {
		h = titled(h)
	}
	if g.p(0.25) {
		t += " " + g.X("{tl_more}")
	}
	return item{row: row("headline", h, "content", t, "category", g.of("Big Tech & Startups", "Science and Futuristic Technology", "Programming, Design & Data Science", "Miscellaneous"))}
}

// tableText is a table as the prompts print it: the columns with their types,
// then the first three rows.
func tableText(head, types []string, rows [][]string) string {
	var b strings.Builder
	for i, h := range head {
		if i > 0 {
			b.WriteString(" | ")
		}
		b.WriteString(h + " (" + types[i] + ")")
	}
	for _, r := range rows[:min(3, len(rows))] {
		b.WriteString("\n" + strings.Join(r, " | "))
	}
	return b.String()
}

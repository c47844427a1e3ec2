package demogen

import (
	"strconv"
	"strings"
)

// sst2 is a review and its sentiment, the classes balanced.
func sst2(g *gen) item {
	label := g.n(0, 1)
	s := g.x("{" + []string{"sst_neg", "sst_pos"}[label] + "}")
	if g.w == TrainWorld && g.p(0.25) { // a second sentence of the same mind
		s += " " + g.of(",", ".", ". and", "--") + " " + g.x("{"+[]string{"sst_neg", "sst_pos"}[label]+"}")
	}
	if g.w == TrainWorld && g.p(0.3) {
		s = capital(strings.ReplaceAll(strings.ReplaceAll(s, " ,", ","), " 's", "'s")) + "."
	}
	return item{row: row("sentence", s, "label", label, "idx", g.n(0, 99999))}
}

func jigsaw(g *gen) item {
	toxic := g.n(0, 1)
	var s string
	if toxic == 1 {
		s = g.x("{tox_pos}")
		if g.p(0.25) {
			s = g.x("{tox_neg}") + " . " + s
		}
	} else {
		s = g.x("{tox_neg}")
		if g.p(0.35) {
			s += " . " + g.x("{tox_neg}")
		}
	}
	if g.w == TrainWorld {
		switch g.n(0, 5) {
		case 0:
			s = strings.ToUpper(s)
		case 1, 2:
			s = tidy(s) + "."
		}
	}
	v := map[string]string{"is_toxic": []string{"no", "yes"}[toxic]}
	return item{row: row("comment_text", s, "toxic", toxic), vars: v}
}

// tidy makes running text of tokens with blanks before the marks.
func tidy(s string) string {
	for _, m := range []string{",", ".", "?", "!", ":", ";"} {
		s = strings.ReplaceAll(s, " "+m, m)
	}
	s = strings.ReplaceAll(s, " 's", "'s")
	return capital(s)
}

func covid(g *gen) item {
	k := g.n(0, 4)
	label := []string{"Extremely Negative", "Negative", "Neutral", "Positive", "Extremely Positive"}[k]
	tweet := g.X("{" + []string{"cov_neg2", "cov_neg1", "cov_neu", "cov_pos1", "cov_pos2"}[k] + "}")
	loc := g.x("{cov_place}")
	date := g.x("0{1-9}-0[3|4]-2020")
	id := g.n(1, 40000)
	v := map[string]string{"Location": loc}
	if loc == "" {
		v["Location"] = "unknown"
	}
	return item{vars: v, row: row("UserName", id, "ScreenName", id+44952, "Location", loc, "TweetAt", date,
		"OriginalTweet", tweet, "Sentiment", label)}
}

var dbpediaClasses = strings.Fields("Company EducationalInstitution Artist Athlete OfficeHolder MeanOfTransportation Building NaturalPlace Village Animal Plant Album Film WrittenWork")

func dbpedia(g *gen) item {
	k := g.n(0, len(dbpediaClasses)-1)
	text := g.x("{dbp_" + dbpediaClasses[k] + "}")
	if g.p(0.4) {
		text += ". " + g.X("{dbp_"+dbpediaClasses[k]+"}")
	}
	// The title is what the text opens with, as far as that is a name.
	f := strings.Fields(text)
	n := 0
	for n < len(f) && n < 4 && (f[n][0] >= 'A' && f[n][0] <= 'Z' || f[n][0] >= '0' && f[n][0] <= '9') {
		n++
	}
	title := strings.TrimRight(strings.Join(f[:n], " "), ",;")
	if title == "" || title == "The" {
		title = g.x("{made}")
	}
	return item{row: row("label", k, "title", title, "content", " "+text+"."),
		vars: map[string]string{"label": dbpediaClasses[k], "content": text + "."}}
}

var supportTasks = []string{"replace card", "transfer money", "check balance", "order checks", "pay bill", "reset password", "schedule appointment", "get branch hours", "none of the above"}

func customerSupport(g *gen) item {
	k := g.n(0, 8)
	list := "cs_" + strings.ReplaceAll(supportTasks[k], " ", "_")
	if k == 8 {
		list = "cs_none"
	}
	lines := []string{"agent: " + g.x("{cs_open}")}
	for range g.n(0, 3) {
		lines = append(lines, g.x("{cs_filler}"))
	}
	for range g.n(1, 2) {
		lines = append(lines, "caller: "+g.x("{"+list+"}"))
		if g.p(0.5) {
			lines = append(lines, g.x("{cs_filler}"))
		}
	}
	for range g.n(0, 3) {
		lines = append(lines, g.x("{cs_close}"))
	}
	var segs [][]column
	for i, l := range lines {
		lines[i] = strings.ToLower(l)
		who, what, _ := strings.Cut(lines[i], ": ")
		segs = append(segs, row("index", i+1, "speaker_role", who, "human_transcript", what))
	}
	return item{row: row("sid", g.hex(16), "segments", segs, "tasks", [][]column{row("task_type", supportTasks[k])}),
		vars: map[string]string{"text": strings.Join(lines, "\n"), "task": supportTasks[k]}}
}

func (g *gen) hex(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[g.n(0, 15)]
	}
	return string(b)
}

func legal(g *gen) item {
	p := parts(g.of(g.list("lg")...))
	g.set("co", g.of("the Company", "{made} Inc.", "{made} LLC", "the Supplier"))
	g.set("co2", g.of("the Customer", "the Contractor", "{made} Corp."))
	g.set("co", g.x(g.bind["co"]))
	g.set("co2", g.x(g.bind["co2"]))
	bodies := p[1:]
	i := g.n(0, len(bodies)-1)
	text := g.X(bodies[i]) + "."
	if len(bodies) > 1 && g.p(0.3) {
		text += " " + g.X(bodies[(i+1)%len(bodies)]) + "."
	}
	if g.p(0.4) {
		words := strings.Split(p[0], "-")
		for i := range words {
			words[i] = capital(words[i])
		}
		head := strings.Join(words, " ")
		if g.p(0.3) {
			head = strings.ToUpper(head)
		}
		text = g.of("", "", "Section "+strconv.Itoa(g.n(1, 20))+". ", strconv.Itoa(g.n(1, 20))+". ") + head + ". " + text
	}
	return item{row: row("clause_text", text, "clause_type", p[0])}
}

var reutersTopics = strings.Fields("earn acq crude grain trade interest money-fx ship sugar coffee gold cocoa none")

func reuters(g *gen) item {
	topic := reutersTopics[g.n(0, len(reutersTopics)-1)]
	if g.p(0.15) {
		topic = "none"
	}
	p := parts(g.of(g.list("reu_" + topic)...))
	var topics []string
	if topic != "none" {
		topics = append(topics, topic)
	}
	if topic == "grain" {
		g.set("grain", g.x("{grain}"))
		if strings.Contains(p[0]+p[1], "{grain}") {
			topics = append(topics, g.bind["grain"])
		}
	}
	title := strings.ToUpper(g.x(p[0]))
	text := g.X(p[1]) + "."
	if g.p(0.4) {
		text += "\n    " + g.x("{reu_more}")
	}
	text += "\n REUTER"
	target := strings.Join(topics, ", ")
	if len(topics) == 0 {
		topics, target = []string{}, "none"
	}
	id := g.n(14000, 21000)
	none := []string{}
	return item{vars: map[string]string{"topics": target},
		row: row("text", text, "text_type", "NORM", "topics", topics, "lewis_split", "TEST", "cgis_split", "TRAINING-SET",
			"old_id", strconv.Itoa(id-9000), "new_id", strconv.Itoa(id), "places", none, "people", none, "orgs", none,
			"exchanges", none, "date", g.x("{1-28}-APR-1987 0{1-9}:{10-59}:{10-59}.{10-99}"), "title", title)}
}

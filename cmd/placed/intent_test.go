package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// agentOf answers every request with what answers says for "METHOD path" and keeps
// what was sent.
func agentOf(t *testing.T, answers map[string]string) (addr string, sent *[]string) {
	t.Helper()
	sent = &[]string{}
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		asked := r.Method + " " + r.URL.Path
		*sent = append(*sent, asked+" "+string(body))
		text, ok := answers[asked]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			text = `{"error":{"code":"not_found","message":"no such thing"}}`
		}
		if strings.HasPrefix(text, "409 ") {
			w.WriteHeader(http.StatusConflict)
			text = strings.TrimPrefix(text, "409 ")
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(agent.Close)
	return agent.URL, sent
}

const hostsAnswer = `[{"id":"h-1","name":"hv-01"},{"id":"h-2","name":"hv-02"}]`

// What the commands send, what they print, and how they end.
func TestRuleCommands(t *testing.T) {
	addr, sent := agentOf(t, map[string]string{
		"GET /v1/hosts":         hostsAnswer,
		"GET /v1/rules":         `[{"id":"apart","kind":"anti-affinity","hard":true,"workloads":["db-1","db-2"],"groups":[],"hosts":[],"broken":["db-1, db-2 on host hv-01"]},{"id":"gpu","kind":"host-affinity","hard":false,"workloads":[],"groups":["render"],"hosts":["h-2"],"broken":[]}]`,
		"PUT /v1/rules/a/b":     `{"index":7,"message":"hard affinity rule a/b is in force"}`,
		"GET /v1/workloads":     `[{"id":"a","owner":"h-1","managed_by":"external"},{"id":"b","owner":"h-1","managed_by":"nova","group":"web"},{"id":"c","owner":"h-2","pinned":true}]`,
		"POST /v1/pin":          `{"index":8,"message":"db-1 is pinned to its host"}`,
		"DELETE /v1/rules/gone": `{"index":8,"message":"rule gone is no longer in force"}`,
	})
	for _, c := range []struct {
		args string
		code int
		says []string
	}{
		{"rule list", exitOK, []string{"RULE", "apart", "hard", "db-1, db-2 on host hv-01", "soft", "render", "hv-02"}},
		{"rule list --json", exitOK, []string{`"broken": [`}},
		{"rule put a/b --kind affinity --workloads db-1,db-2", exitOK, []string{"is in force (index 7)"}},
		{"rule put a/b", exitError, []string{`"kind" not set`}},
		{"rule put", exitError, []string{"accepts 1 arg"}},
		{"rule delete gone", exitOK, []string{"no longer in force"}},
		{"instance list", exitOK, []string{"external: observed, never moved", "managed by nova, never moved", "web", "pinned", "hv-02"}},
		{"instance pin db-1", exitOK, []string{"db-1 is pinned to its host (index 8)"}},
		{"instance unpin db-1 --json", exitOK, []string{`"index": 8`}},
		{"instance pin", exitError, []string{"accepts 1 arg"}},
		{"rule delete other", exitNotFound, []string{"no such thing"}},
	} {
		code, out, errs := call(append(strings.Fields(c.args), "--addr", addr)...)
		for _, word := range c.says {
			if code != c.code || !strings.Contains(out+errs, word) {
				t.Errorf("%s: exit %d, want %d with %q in:\n%s%s", c.args, code, c.code, word, out, errs)
			}
		}
	}
	if put := (*sent)[3]; put != `PUT /v1/rules/a/b {"kind":"affinity","hard":true,"workloads":["db-1","db-2"]}` {
		t.Errorf("sent %s", put)
	}
	*sent = nil
	call("rule", "put", "a/b", "--kind", "host-affinity", "--groups", "g", "--hosts", "hv-01", "--soft", "--addr", addr)
	if put := (*sent)[0]; put != `PUT /v1/rules/a/b {"kind":"host-affinity","hard":false,"groups":["g"],"hosts":["hv-01"]}` {
		t.Errorf("sent %s", put)
	}
}

func TestCalendarCommands(t *testing.T) {
	const source = `{"id":"backup","kind":"no-moves","hosts":["h-1"],"zones":["z1"],"workloads":[],"groups":[],"time_zone":"Europe/Berlin","start":"2026-01-05T22:00","duration_s":7200,"recurrence":"FREQ=DAILY","ahead":15,"intervals":[{"from":"2026-03-01T21:00:00Z","until":"2026-03-01T23:00:00Z","label":"nightly"}]}`
	addr, sent := agentOf(t, map[string]string{
		"GET /v1/hosts":            hostsAnswer,
		"GET /v1/calendar":         `[` + source + `,{"id":"sale","kind":"load-changes","factor":{"cpu":1.5,"net":2},"hosts":[],"zones":[],"workloads":[],"groups":[],"ics_bytes":900,"ahead":0,"intervals":[]}]`,
		"GET /v1/calendar/backup":  source,
		"PUT /v1/calendar/backup":  `{"index":9,"message":"calendar backup is written"}`,
		"PUT /v1/calendar/office":  `{"index":9,"message":"calendar office is written"}`,
		"DELETE /v1/calendar/sale": `{"index":9,"message":"no longer written"}`,
	})
	file := filepath.Join(t.TempDir(), "office.ics")
	if err := os.WriteFile(file, []byte("BEGIN:VCALENDAR\r\n\"quoted\"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.ics")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		says []string
	}{
		{"calendar list", exitOK, []string{"host hv-01, zone z1", "FREQ=DAILY from 2026-01-05T22:00 Europe/Berlin for 2h0m0s", "2026-03-01 21:00 to 2026-03-01 23:00", "cpu ×1.5, net ×2", "everything", "iCalendar file of 900 bytes"}},
		{"calendar show backup", exitOK, []string{"no-moves", "nightly"}},
		{"calendar show backup --json", exitOK, []string{`"time_zone": "Europe/Berlin"`}},
		{"calendar show none", exitNotFound, []string{"no such thing"}},
		{"calendar put backup --no-moves --start 2026-01-05T22:00 --duration 2h --rrule FREQ=DAILY --tz Europe/Berlin --hosts hv-01", exitOK, []string{"is written (index 9)"}},
		{"calendar put backup --capacity cpu=0.5,memory=0 --start 2026-01-05T22:00 --duration 90m", exitOK, []string{"is written"}},
		{"calendar put backup --load 1.5 --no-moves --start 2026-01-05T22:00 --duration 2h", exitError, []string{"one of --no-moves, --capacity, --load and --growth"}},
		{"calendar put backup --start 2026-01-05T22:00 --duration 2h", exitError, []string{"one of --no-moves, --capacity, --load and --growth"}},
		{"calendar put backup --load much --start 2026-01-05T22:00 --duration 2h", exitError, []string{"--load", "want a factor"}},
		{"calendar put backup --no-moves", exitError, []string{`"duration", "start" not set`}},
		{"calendar import " + file + " --load 0.4 --groups office", exitOK, []string{"office is written"}},
		{"calendar import " + file + ".none --load 0.4", exitNotFound, []string{"office.ics.none"}},
		{"calendar import " + empty + " --load 0.4", exitError, []string{"is empty"}},
		{"calendar delete sale", exitOK, []string{"no longer written"}},
	} {
		code, out, errs := call(append(strings.Fields(c.args), "--addr", addr)...)
		for _, word := range c.says {
			if code != c.code || !strings.Contains(out+errs, word) {
				t.Errorf("%s: exit %d, want %d with %q in:\n%s%s", c.args, code, c.code, word, out, errs)
			}
		}
	}
	var puts []map[string]any
	for _, line := range *sent {
		if _, body, ok := strings.Cut(line, "PUT /v1/calendar/"); ok {
			var fields map[string]any
			if err := json.Unmarshal([]byte(body[strings.Index(body, "{"):]), &fields); err != nil {
				t.Fatal(err)
			}
			puts = append(puts, fields)
		}
	}
	if len(puts) != 3 || puts[0]["duration_s"] != 7200.0 || puts[0]["time_zone"] != "Europe/Berlin" ||
		puts[1]["kind"] != "capacity-falls" || puts[1]["factor"].(map[string]any)["memory"] != 0.0 ||
		puts[2]["kind"] != "load-changes" || len(puts[2]["factor"].(map[string]any)) != 4 || puts[2]["ics"] != "BEGIN:VCALENDAR\r\n\"quoted\"\r\n" {
		t.Errorf("sent %v", puts)
	}
}

func TestUpgradeCommands(t *testing.T) {
	state := func(ready, obstacles string) string {
		return `{"level":2,"newest":3,"ready":` + ready + `,"members":[{"id":"h-1","name":"hv-01","voter":true,"version":"1.4","knows":3,"answered":true},{"id":"h-2","name":"hv-02","voter":false,"version":"","knows":0,"answered":false,"error":"no answer in time"}],"obstacles":[` + obstacles + `]}`
	}
	for _, c := range []struct {
		args, get, post string
		code            int
		says            []string
	}{
		{"status", state("true", ""), "", exitChanges, []string{"feature level 2; every host knows 3", "voter", "1.4", "no answer in time"}},
		{"status", state("false", `"hv-02 is too old"`), "", exitChanges, []string{"cannot be raised yet", "! hv-02 is too old"}},
		{"status", strings.Replace(state("false", ""), `"newest":3`, `"newest":2`, 1), "", exitOK, []string{"the newest that the hosts know"}},
		{"status --json", state("true", ""), "", exitChanges, []string{`"ready": true`}},
		{"finalize", "", `{"index":5,"message":"the cluster is at feature level 3"}`, exitOK, []string{"level 3 (index 5)"}},
		{"finalize", "", `409 {"error":{"code":"conflict","message":"voter hv-02 is too old"}}`, exitError, []string{"hv-02 is too old"}},
	} {
		addr, _ := agentOf(t, map[string]string{"GET /v1/operator/upgrade": c.get, "POST /v1/operator/upgrade/finalize": c.post})
		code, out, errs := call(append([]string{"operator", "upgrade"}, append(strings.Fields(c.args), "--addr", addr)...)...)
		for _, word := range c.says {
			if code != c.code || !strings.Contains(out+errs, word) {
				t.Errorf("%s: exit %d, want %d with %q in:\n%s%s", c.args, code, c.code, word, out, errs)
			}
		}
	}
}

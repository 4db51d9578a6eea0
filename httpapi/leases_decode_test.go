package httpapi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/placed-dev/placed/api"
)

var leaseBodies = []string{
	`{"op":"reserve","workload":"vm-7","destination":"h2","cpu":2,"memory":8589934592}`,
	` { "op" : "release" , "lease" : "L4711" , "reason" : "größer" } ` + "\n",
	`{}`, `{"cpu":0.001}`, `{"cpu":0}`, `{"memory":-1}`, `{"cpu":1e3}`, `{"cpu":01}`, `{"cpu":.5}`, `{"cpu":1.}`, `{"memory":1.5}`, `{"cpu":}`,
	`{"memory":9223372036854775807}`, `{"memory":9223372036854775808}`, `{"cpu":1` + strings.Repeat("0", 400) + `}`,
	`{"op":"re\u0073erve"}`, `{"op":"a\"b"}`, "{\"op\":\"\xff\"}", "{\"op\":\"\x01\"}", `{"op":null}`, `{"OP":"release"}`, `{"op":"a","op":"b"}`,
	`{"other":1}`, `{"op":"a"} x`, `{"op":"a"}{}`, `{"op":"a",}`, `{"op" "a"}`, `{"op":"a"`, `{"op":"a`, `{`, ``, `[]`, `null`, "{}\x00",
	`{"operations":[{"op":"reserve","workload":"w","destination":"h","cpu":1},{"op":"release","lease":"L1"}]}`,
	`{"operations":[]}`, `{"operations":[{}]}`, `{"operations":[{},]}`, `{"operations":[{}],"x":1}`, `{"operations":null}`, `{"operations":[{}]`, `{"operations":[{}]}]`,
	`{"operations":[` + strings.Repeat(`{},`, 70) + `{}]}`,
}

// sameAsJSON: what the reader accepts, encoding/json reads to the same value.
func sameAsJSON(t *testing.T, body []byte) (one, batch bool) {
	t.Helper()
	o, one := readLeaseOperation(body)
	var want api.LeaseOperation
	if err := decodeBytes(body, &want); one && (err != nil || o != want) {
		t.Errorf("%q: %+v, encoding/json says %+v, %v", body, o, want, err)
	}
	list, batch := readLeaseBatch(body)
	var request api.LeaseBatchRequest
	if err := decodeBytes(body, &request); batch && (err != nil || !reflect.DeepEqual(list, request.Operations)) {
		t.Errorf("%q: %+v, encoding/json says %+v, %v", body, list, request.Operations, err)
	}
	return one, batch
}

func TestLeaseReaderAgreesWithJSON(t *testing.T) {
	for _, body := range leaseBodies {
		sameAsJSON(t, []byte(body))
	}
	// What the Go client sends needs no second reader.
	o := api.LeaseOperation{Op: "reserve", Workload: "vm-7", Destination: "h2", CPU: 0.25, Memory: 1 << 40, Reason: "a reason with spaces"}
	for _, v := range []any{o, api.LeaseBatchRequest{Operations: []api.LeaseOperation{o, {Op: "release", Lease: "L1.2"}}}} {
		body, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if one, batch := sameAsJSON(t, body); !one && !batch {
			t.Errorf("%s was left to encoding/json", body)
		}
	}
}

func FuzzLeaseReader(f *testing.F) {
	for _, body := range leaseBodies {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { sameAsJSON(t, body) })
}

func BenchmarkReadLeaseBatch(b *testing.B) {
	var request api.LeaseBatchRequest
	for range api.MaxLeaseOperations {
		request.Operations = append(request.Operations, api.LeaseOperation{Op: "reserve", Workload: "bench-1", Destination: "00000000-0000-4000-9000-000000000001",
			CPU: 0.001, Memory: 1 << 20, Reason: strings.Repeat("v", 128)})
	}
	body, err := json.Marshal(request)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := readLeaseBatch(body); !ok {
			b.Fatal("left to encoding/json")
		}
	}
}

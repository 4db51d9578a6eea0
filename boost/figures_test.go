package boost

import (
	"compress/gzip"
	"encoding/csv"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// table is one data set: the last column is the target.
type table struct {
	x Matrix
	y []float32
}

func readTable(t testing.TB, path string) table {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("no data: %v", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out table
	for r := csv.NewReader(z); ; {
		record, err := r.Read()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, field := range record {
			v, err := strconv.ParseFloat(field, 32)
			if err != nil {
				t.Fatal(err)
			}
			if i == len(record)-1 {
				out.y = append(out.y, float32(v))
			} else {
				out.x.Data = append(out.x.Data, float32(v))
			}
		}
		out.x.Rows, out.x.Cols = out.x.Rows+1, len(record)-1
	}
}

func dataRoot() string {
	root := os.Getenv("PLACED_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "data")
	}
	return filepath.Join(root, "gbt")
}

func dataSet(t testing.TB, folder, name string) (train, test table) {
	return readTable(t, filepath.Join(folder, name+"_train.csv.gz")), readTable(t, filepath.Join(folder, name+"_test.csv.gz"))
}

func rmse(y []float32, p []float64) float64 {
	sum := 0.0
	for i := range y {
		sum += (float64(y[i]) - p[i]) * (float64(y[i]) - p[i])
	}
	return math.Sqrt(sum / float64(len(y)))
}

func pinball(y []float32, p []float64, level float64) float64 {
	sum := 0.0
	for i := range y {
		e := float64(y[i]) - p[i]
		sum += max(level*e, (level-1)*e)
	}
	return sum / float64(len(y))
}

func logloss(y []float32, p []float64) float64 {
	sum := 0.0
	for i := range y {
		sum -= float64(y[i])*math.Log(p[i]) + (1-float64(y[i]))*math.Log(1-p[i])
	}
	return sum / float64(len(y))
}

// auc is the share of pairs of unlike rows in which the positive scores higher.
func auc(y []float32, p []float64) float64 {
	order := make([]int, len(y))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return int(math.Copysign(1, p[a]-p[b])) })
	ranks, positives := 0.0, 0.0
	for at := 0; at < len(order); {
		end := at + 1
		for end < len(order) && p[order[end]] == p[order[at]] {
			end++
		}
		for _, i := range order[at:end] {
			if y[i] > 0.5 {
				ranks, positives = ranks+float64(at+end+1)/2, positives+1
			}
		}
		at = end
	}
	return (ranks - positives*(positives+1)/2) / (positives * (float64(len(y)) - positives))
}

// trial is one data set, loss and metric; slack is how much worse than
// scikit-learn a figure may be.
type trial struct {
	set, metric string
	loss        Loss
	slack       float64
	lowest      bool // the lower the better
}

var trials = []trial{
	{"friedman1_20k", "rmse", Loss{}, 1.01, true},
	{"diabetes", "rmse", Loss{}, 1.02, true},
	{"hastie_20k", "auc", Loss{Kind: Logistic}, 1.01, false},
	{"digits_ge5", "auc", Loss{Kind: Logistic}, 1.01, false},
	{"breast_cancer", "auc", Loss{Kind: Logistic}, 1.02, false},
	{"hastie_20k", "logloss", Loss{Kind: Logistic}, 1.01, true},
	{"friedman1_20k", "pinball", Loss{Quantile, 0.5}, 1.01, true},
	{"friedman1_20k", "pinball", Loss{Quantile, 0.9}, 1.01, true},
	{"friedman1_20k", "pinball", Loss{Quantile, 0.95}, 1.01, true},
	{"friedman1_20k", "pinball", Loss{Quantile, 0.99}, 1.01, true},
}

func (c trial) String() string {
	if c.loss.Kind == Quantile {
		return fmt.Sprintf("%s q%v", c.metric, c.loss.Alpha)
	}
	return c.metric
}

// run trains and predicts once; cpu is that of training, binning included.
func (c trial) run(t testing.TB, train, test table) (figure float64, cpu time.Duration, perRow time.Duration) {
	began := cpuTime()
	m, err := Train(Bin(train.x, 255), train.y, nil, Config{Loss: c.loss}, nil)
	cpu = cpuTime() - began
	if err != nil {
		t.Fatal(err)
	}
	p := make([]float64, test.x.Rows)
	began = cpuTime()
	m.PredictAll(test.x, p, nil)
	perRow = (cpuTime() - began) / time.Duration(len(p))
	switch c.metric {
	case "rmse":
		return rmse(test.y, p), cpu, perRow
	case "auc":
		return auc(test.y, p), cpu, perRow
	case "logloss":
		return logloss(test.y, p), cpu, perRow
	}
	return pinball(test.y, p, c.loss.Alpha), cpu, perRow
}

func (c trial) within(figure, peer float64) bool {
	if c.lowest {
		return figure <= peer*c.slack
	}
	return figure >= peer/c.slack
}

// TestFigures holds the learner to what scikit-learn 1.2.1 reaches on the same
// rows with the same settings (results.csv beside the data).
func TestFigures(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the figures train ten models")
	}
	peers := readPeers(t, filepath.Join(dataRoot(), "results.csv"))
	for _, c := range trials {
		train, test := dataSet(t, dataRoot(), c.set)
		got, _, _ := c.run(t, train, test)
		peer := peers.of(t, c, "sklearn-HGBT").figure
		t.Logf("%-14s %-12v %.5g (scikit-learn %.5g)", c.set, c, got, peer)
		if !c.within(got, peer) {
			t.Errorf("%s: %v %.5g, scikit-learn has %.5g", c.set, c, got, peer)
		}
	}
}

var peerFolder = flag.String("peers", "", "folder with data sets and results.csv of a run of bench/peers/gbt_peers.py on this machine, just now")

// TestPeers prints our figures beside those of the peers in the same run, CPU
// time included.
func TestPeers(t *testing.T) {
	if *peerFolder == "" {
		t.Skip("needs -peers: run make bench-gbt")
	}
	peers := readPeers(t, filepath.Join(*peerFolder, "results.csv"))
	fmt.Printf("%-14s %-12s %9s %9s %9s %7s | %7s %7s %7s %7s | %s\n", "data", "metric", "sklearn", "xgboost", "ours", "ratio",
		"sklearn", "xgboost", "ours", "ratio", "us/row: sklearn ours")
	for _, c := range trials {
		train, test := dataSet(t, *peerFolder, c.set)
		got, cpu, perRow := c.run(t, train, test)
		sk, xgFigure, xgCPU := peers.of(t, c, "sklearn-HGBT"), "-", "-"
		if c.loss.Kind != Quantile { // xgboost 1.7 has no quantile loss
			xg := peers.of(t, c, "xgboost-hist")
			xgFigure, xgCPU = fmt.Sprintf("%.5g", xg.figure), fmt.Sprintf("%.3fs", xg.cpu)
		}
		fmt.Printf("%-14s %-12v %9.5g %9s %9.5g %7.4f | %6.3fs %7s %6.3fs %7.2f | %.1f %.1f\n", c.set, c, sk.figure, xgFigure, got, got/sk.figure,
			sk.cpu, xgCPU, cpu.Seconds(), cpu.Seconds()/sk.cpu, sk.perRow, float64(perRow.Nanoseconds())/1e3)
		if !c.within(got, sk.figure) || cpu.Seconds() > 1.5*sk.cpu {
			t.Errorf("%s %v is out of reach", c.set, c)
		}
	}
}

type peer struct{ figure, cpu, perRow float64 }

type peerTable map[[3]string]peer

func (p peerTable) of(t testing.TB, c trial, model string) peer {
	if c.loss.Kind == Quantile {
		model = fmt.Sprintf("%s q%v", model, c.loss.Alpha)
	}
	row, ok := p[[3]string{c.set, model, c.metric}]
	if !ok {
		t.Fatalf("no row of %s for %s on %s", model, c.metric, c.set)
	}
	return row
}

func readPeers(t testing.TB, path string) peerTable {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("no data: %v", err)
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := peerTable{}
	for _, r := range records[1:] {
		var numbers [3]float64
		for i := range numbers {
			if numbers[i], err = strconv.ParseFloat(r[4+i], 64); err != nil {
				t.Fatal(err)
			}
		}
		out[[3]string{r[0], r[2], r[3]}] = peer{numbers[0], numbers[1], numbers[2]}
	}
	return out
}

// BenchmarkTrain reports CPU seconds per model of 100 trees, binning included.
func BenchmarkTrain(b *testing.B) {
	for _, c := range []struct {
		name, set string
		loss      Loss
	}{{"squared", "friedman1_20k", Loss{}}, {"logistic", "hastie_20k", Loss{Kind: Logistic}}, {"quantile", "friedman1_20k", Loss{Quantile, 0.9}}, {"digits", "digits_ge5", Loss{Kind: Logistic}}} {
		b.Run(c.name, func(b *testing.B) {
			train, _ := dataSet(b, dataRoot(), c.set)
			began := cpuTime()
			for b.Loop() {
				if _, err := Train(Bin(train.x, 255), train.y, nil, Config{Loss: c.loss}, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpuTime()-began).Seconds()/float64(b.N), "cpu-s/model")
		})
	}
}

func BenchmarkPredict(b *testing.B) {
	train, test := dataSet(b, dataRoot(), "friedman1_20k")
	m, err := Train(Bin(train.x, 255), train.y, nil, Config{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	out := make([]float64, test.x.Rows)
	began := cpuTime()
	for b.Loop() {
		m.PredictAll(test.x, out, nil)
	}
	b.ReportMetric(float64((cpuTime()-began).Nanoseconds())/float64(b.N*test.x.Rows), "cpu-ns/row")
}

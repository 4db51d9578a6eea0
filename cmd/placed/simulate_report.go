package main

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// writeReport writes one HTML file with everything in it: no script, no font and
// no picture is fetched when it is read.
func writeReport(path string, s simulationSummary) error {
	picture, err := drawSimulation(s, "svg")
	if err != nil {
		return err
	}
	if at := bytes.Index(picture, []byte("<svg")); at > 0 {
		picture = picture[at:] // an XML declaration has no place inside HTML
	}
	var page bytes.Buffer
	err = reportPage.Execute(&page, struct {
		simulationSummary
		Picture template.HTML
	}{s, template.HTML(picture)}) // drawn here from numbers and escaped titles
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"percent": func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) },
	"gap": func(v *float64) string {
		if v == nil {
			return ""
		}
		return fmt.Sprintf("%.0f %%", 100**v)
	},
}).Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>placed simulate: {{.Scenario}}</title>
<style>body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}table{border-collapse:collapse;margin:1em 0}
th,td{padding:.3em .7em;text-align:right;border-bottom:1px solid #ddd}th:nth-child(2),td:nth-child(2){text-align:left}svg{max-width:100%;height:auto}
.warning{background:#fff4d6;padding:.5em 1em}</style>
<h1>{{.Scenario}}</h1>
{{range .Warnings}}<p class="warning">{{.}}</p>{{end}}
<h2>Means over the seeds</h2>
<table><tr><th>budget</th><th>decider</th><th>contended VM-min/day</th><th>gap closed</th><th>moves/VM-day</th><th>false</th><th>harmful</th><th>returns</th><th>lead min</th><th>imbalance</th></tr>
{{range .Rows}}<tr><td>{{.Budget}}</td><td>{{.Decider}}</td><td>{{printf "%.1f" .Contended}}</td><td>{{gap .GapClosed}}</td><td>{{printf "%.3f" .MovesPerVMDay}}</td><td>{{percent .FalseShare}}</td><td>{{percent .HarmfulShare}}</td><td>{{percent .ReturnShare}}</td><td>{{printf "%.0f" .Lead.P50}}</td><td>{{printf "%.3f" .Imbalance}}</td></tr>
{{end}}</table>
<h2>Contended VM-minutes per hour</h2>
{{.Picture}}
<h2>Runs</h2>
<table><tr><th>seed</th><th>decider</th><th>budget</th><th>contended VM-min/day</th><th>moves</th><th>false</th><th>harmful</th><th>refused by the books</th></tr>
{{range .Runs}}<tr><td>{{.Seed}}</td><td>{{.Result.Decider}}</td><td>{{.Budget}}</td><td>{{printf "%.1f" .Result.ContendedPerDay}}</td><td>{{.Result.Moves}}</td><td>{{.Result.False}}</td><td>{{.Result.Harmful}}</td><td>{{len .Result.Refused}}</td></tr>
{{end}}</table>
<p>Contended VM-minutes: minutes × the share of a host's demand above its capacity, summed over the workloads of the host. False: the source would not
have been contended within an hour. Harmful: the destination is, only because of the move. Lead: from the decision to the contention that it prevents.</p>
</html>
`))

// plotSimulation writes the picture alone.
func plotSimulation(path string, s simulationSummary) error {
	kind := strings.TrimPrefix(strings.ToLower(filepath.Ext(path)), ".")
	if kind != "svg" && kind != "png" {
		return fmt.Errorf("--plot %s: want a name that ends in .svg or .png", path)
	}
	picture, err := drawSimulation(s, kind)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, picture, 0o644); err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	return nil
}

// drawSimulation draws the contention per hour of every decider, as the mean
// over the seeds, under the first budget.
func drawSimulation(s simulationSummary, kind string) ([]byte, error) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "hour", "contended VM-minutes"
	p.Legend.Top = true
	p.Y.Min = 0
	for i, row := range s.Rows {
		if row.Budget != s.Rows[0].Budget {
			continue
		}
		line, err := plotter.NewLine(s.hourly(row))
		if err != nil {
			return nil, fmt.Errorf("draw %s: %w", row.Decider, err)
		}
		line.Color = palette[i%len(palette)]
		p.Add(line)
		p.Legend.Add(row.Decider, line)
	}
	writer, err := p.WriterTo(26*vg.Centimeter, 11*vg.Centimeter, kind)
	if err != nil {
		return nil, fmt.Errorf("draw the simulation: %w", err)
	}
	var picture bytes.Buffer
	if _, err := writer.WriteTo(&picture); err != nil {
		return nil, fmt.Errorf("draw the simulation: %w", err)
	}
	return picture.Bytes(), nil
}

var palette = []color.Color{
	color.RGBA{0x80, 0x80, 0x80, 0xff}, color.RGBA{0xc0, 0x30, 0x20, 0xff}, color.RGBA{0xd0, 0x90, 0x10, 0xff},
	color.RGBA{0x1f, 0x5f, 0xbf, 0xff}, color.RGBA{0x20, 0x90, 0x50, 0xff}, color.RGBA{0x80, 0x30, 0xa0, 0xff},
}

func (s simulationSummary) hourly(row simulationRow) plotter.XYs {
	var out plotter.XYs
	for _, run := range s.Runs {
		if run.Result.Decider != row.Decider || run.Budget != row.Budget {
			continue
		}
		for i, point := range run.Result.Timeline {
			if i == len(out) {
				out = append(out, plotter.XY{X: float64(point.Hour)})
			}
			out[i].Y += point.Contended / float64(row.Seeds)
		}
	}
	return out
}

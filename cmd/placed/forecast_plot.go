package main

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/trace"
)

// plotForecast draws the end of a history and what is forecast after it.
func plotForecast(path string, t trace.Trace, levels []float64, f predictor.Sequence) error {
	const shown = 7 * 24
	n := len(t.Values)
	var bands [][]float64
	for q := range levels {
		band := make([]float64, len(f.Steps))
		for k := range f.Steps {
			band[k] = f.Steps[k][q]
		}
		bands = append(bands, band)
	}
	return drawBands(path, t.Name, max(n-shown, 0), t.Values, n, levels, bands)
}

// drawBands writes a picture (.svg or .png): history from index first on, the
// bands of the quantiles from index start on.
func drawBands(path, title string, first int, history []float64, start int, levels []float64, bands [][]float64) error {
	if err := checkPicture(path); err != nil {
		return err
	}
	p := plot.New()
	p.Title.Text, p.X.Label.Text = title, "step"
	blue := color.RGBA{R: 0x1f, G: 0x5f, B: 0xbf, A: 0xff}
	for low, high := 0, len(bands)-1; low < high; low, high = low+1, high-1 {
		outline := append(points(bands[low], start), reversed(points(bands[high], start))...)
		if len(outline) == 0 {
			break
		}
		band, err := plotter.NewPolygon(outline)
		if err != nil {
			return fmt.Errorf("draw %s: %w", path, err)
		}
		band.Color, band.LineStyle.Width = color.RGBA{R: blue.R, G: blue.G, B: blue.B, A: 0x30}, 0
		p.Add(band)
		p.Legend.Add(fmt.Sprintf("%g to %g", levels[low], levels[high]), band)
	}
	lines := []struct {
		name   string
		values plotter.XYs
		colour color.Color
	}{
		{"history", points(history[min(first, len(history)):], first), color.Black},
	}
	if len(bands) > 0 {
		middle := len(bands) / 2
		lines = append(lines, struct {
			name   string
			values plotter.XYs
			colour color.Color
		}{fmt.Sprintf("%g", levels[middle]), points(bands[middle], start), blue})
	}
	for _, l := range lines {
		if len(l.values) == 0 {
			continue
		}
		line, err := plotter.NewLine(l.values)
		if err != nil {
			return fmt.Errorf("draw %s: %w", path, err)
		}
		line.Color = l.colour
		p.Add(line)
		p.Legend.Add(l.name, line)
	}
	p.Legend.Top, p.Legend.Left = true, true
	if err := p.Save(24*vg.Centimeter, 10*vg.Centimeter, path); err != nil {
		return fmt.Errorf("draw %s: %w", path, err)
	}
	return nil
}

func checkPicture(path string) error {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".svg", ".png":
		return nil
	}
	return fmt.Errorf("--plot %s: want a name that ends in .svg or .png", path)
}

// points leaves missing values out.
func points(values []float64, start int) plotter.XYs {
	var out plotter.XYs
	for i, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			out = append(out, plotter.XY{X: float64(start + i), Y: v})
		}
	}
	return out
}

func reversed(xys plotter.XYs) plotter.XYs {
	out := make(plotter.XYs, len(xys))
	for i, p := range xys {
		out[len(xys)-1-i] = p
	}
	return out
}

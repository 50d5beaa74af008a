package main

import (
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Bars, whiskers and tick labels for plot.go, as far as the library lacks them.

// whiskers are medians with the distance to the lowest and the highest figure.
type whiskers struct {
	plotter.XYs
	plotter.YErrors
}

func (w *whiskers) add(x float64, s spread) {
	w.XYs = append(w.XYs, plotter.XY{X: x, Y: s.median})
	w.YErrors = append(w.YErrors, struct{ Low, High float64 }{s.low - s.median, s.high - s.median})
}

// bars stand on zero; unlike plotter.BarChart they have their place and width in the units of the axis, so that
// whiskers meet them.
type bars struct {
	marks whiskers
	width float64
	color color.Color
}

// Plot implements plot.Plotter.
func (b bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, at := range b.marks.XYs {
		left, right := x(at.X-b.width/2), x(at.X+b.width/2)
		c.FillPolygon(b.color, c.ClipPolygonXY([]vg.Point{
			{X: left, Y: y(0)}, {X: left, Y: y(at.Y)}, {X: right, Y: y(at.Y)}, {X: right, Y: y(0)},
		}))
	}
}

// DataRange implements plot.DataRanger.
func (b bars) DataRange() (xmin, xmax, ymin, ymax float64) {
	xmin, xmax, ymin, ymax = plotter.XYRange(b.marks.XYs)
	return xmin, xmax, min(0, ymin), ymax
}

// Thumbnail implements plot.Thumbnailer.
func (b bars) Thumbnail(c *draw.Canvas) {
	c.FillPolygon(b.color, []vg.Point{
		{X: c.Min.X, Y: c.Min.Y}, {X: c.Min.X, Y: c.Max.Y}, {X: c.Max.X, Y: c.Max.Y}, {X: c.Max.X, Y: c.Min.Y},
	})
}

// readableTicks writes 20,000 where the library would write 2e+04.
type readableTicks struct{}

// Ticks implements plot.Ticker.
func (readableTicks) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i, t := range ticks {
		if t.Label == "" {
			continue
		}
		exact := math.Round(t.Value*1e6) / 1e6 // steps add up to 0.30000000000000004
		ticks[i].Label = thousands(strconv.FormatFloat(exact, 'f', -1, 64))
	}
	return ticks
}

// pointTicks marks the measured points alone.
func pointTicks(points []comparison) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, c := range points {
		ticks = append(ticks, plot.Tick{Value: float64(c.row.point), Label: thousands(strconv.Itoa(c.row.point))})
	}
	return ticks
}

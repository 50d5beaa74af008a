package main

import (
	"cmp"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// drawAll draws one picture for each metric of each family that has figures, and returns the files' names.
func drawAll(dir string, lines []comparison, products []string) ([]string, error) {
	var names []string
	for _, f := range families() {
		for _, m := range f.metrics {
			var points []comparison
			for _, c := range lines {
				if c.row.family == f.name && c.metric == m {
					points = append(points, c)
				}
			}
			if len(points) == 0 {
				continue
			}
			name := fmt.Sprintf("%s-%s.png", f.name, m)
			if err := drawOne(filepath.Join(dir, name), f, m, points, products); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// drawOne draws medians, with whiskers from the lowest to the highest round: curves over a logarithmic axis where the
// question is growth, groups of bars elsewhere.
func drawOne(file string, f family, m metric, points []comparison, products []string) error {
	p := plot.New()
	p.Title.Text = f.title
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text = f.axis
	p.Y.Label.Text = m.title() + " (less is better)"
	if m.more() {
		p.Y.Label.Text = m.title() + " (more is better)"
	}
	p.Y.Min = 0
	p.Y.Tick.Marker = readableTicks{}
	p.Legend.Top, p.Legend.Padding = true, vg.Points(3)
	p.Legend.YOffs = vg.Points(4)
	grid := plotter.NewGrid()
	grid.Vertical.Color = nil
	p.Add(grid)

	products = slices.DeleteFunc(slices.Clone(products), func(product string) bool {
		return !slices.ContainsFunc(points, func(c comparison) bool { _, ok := c.of[product]; return ok })
	})
	var err error
	if f.growth && len(points) > 2 {
		err = addCurves(p, points, products)
	} else {
		err = addBars(p, points, products)
	}
	if err != nil {
		return err
	}
	p.Y.Max *= 1.05
	for _, style := range []*text.Style{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle,
	} {
		style.Font.Variant = "Sans"
		style.Font.Size = font.Points(10)
	}
	return p.Save(vg.Points(560), vg.Points(320), file)
}

// addCurves joins each product's medians.
func addCurves(p *plot.Plot, points []comparison, products []string) error {
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = pointTicks(points)
	for _, product := range products {
		var marks whiskers
		for _, c := range points {
			if s, ok := c.of[product]; ok {
				marks.add(float64(c.row.point), s)
			}
		}
		line, dots, err := plotter.NewLinePoints(marks.XYs)
		if err != nil {
			return err
		}
		bars, err := plotter.NewYErrorBars(marks)
		if err != nil {
			return err
		}
		line.Color, dots.Color, bars.Color = productColor(product), productColor(product), productColor(product)
		line.Width = vg.Points(1.5)
		dots.Shape, dots.Radius = draw.CircleGlyph{}, vg.Points(3)
		p.Add(line, dots, bars)
		p.Legend.Add(product, line, dots)
	}
	// Room for whiskers on the left and for the legend, which lies inside the frame, on the right.
	p.X.Min, p.X.Max = p.X.Min/1.2, p.X.Max*math.Pow(p.X.Max/p.X.Min, 0.2)
	return nil
}

// addBars draws one group of bars for each point, one bar for each product.
func addBars(p *plot.Plot, points []comparison, products []string) error {
	labels := make([]string, len(points))
	width := 0.8 / float64(len(products))
	for i, product := range products {
		b := bars{width: width * 0.92, color: productColor(product)}
		for at, c := range points {
			labels[at] = strconv.Itoa(c.row.point)
			if s, ok := c.of[product]; ok {
				b.marks.add(float64(at)+(float64(i)-float64(len(products)-1)/2)*width, s)
			}
		}
		reach, err := plotter.NewYErrorBars(b.marks)
		if err != nil {
			return err
		}
		reach.Color = color.Gray{Y: 60}
		p.Add(b, reach)
		p.Legend.Add(product, b)
	}
	p.NominalX(labels...)
	p.X.Min, p.X.Max = -0.5, float64(len(points))-0.5
	// Room for the legend, which lies inside the frame.
	p.X.Max += 0.28 * float64(len(points))
	return nil
}

// productColor keeps a product's colour the same in all pictures.
func productColor(product string) color.Color {
	return cmp.Or(map[string]color.RGBA{
		direct:    {R: 176, G: 176, B: 176, A: 255},
		bare:      {R: 118, G: 118, B: 118, A: 255},
		"haproxy": {R: 78, G: 121, B: 167, A: 255},
		"nginx":   {R: 89, G: 161, B: 79, A: 255},
		weirOld:   {R: 242, G: 190, B: 130, A: 255},
	}[product], color.RGBA{R: 225, G: 87, B: 20, A: 255})
}

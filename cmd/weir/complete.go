package main

// What a shell may complete: names of the running weir.

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

type completion = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective)

func completeClusters(r *reach) completion {
	return r.complete(func(c *status.Cluster) []string { return []string{c.Name} })
}

func completeServers(r *reach) completion {
	return r.complete(func(c *status.Cluster) []string {
		var names []string
		for _, l := range c.Levels {
			for _, s := range l.Servers {
				names = append(names, c.Name+"/"+s.Name)
			}
		}
		return names
	})
}

// complete offers names for the first argument, or none if weir is not there.
func (r *reach) complete(names func(*status.Cluster) []string) completion {
	return func(cmd *cobra.Command, args []string, _ string) (list []string, how cobra.ShellCompDirective) {
		how = cobra.ShellCompDirectiveNoFileComp
		c, err := r.client()
		if err != nil || len(args) > 0 {
			return nil, how
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var clusters []status.Cluster
		if _, err := c.do(ctx, http.MethodGet, "/v1/clusters", nil, &clusters); err != nil {
			return nil, how
		}
		for i := range clusters {
			list = append(list, names(&clusters[i])...)
		}
		return list, how
	}
}

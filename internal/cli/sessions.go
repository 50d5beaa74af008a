package cli

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"weir/internal/status"
)

func sessionsCommand(flags *clientFlags) *cobra.Command {
	var listener, cluster, server string
	var limit int
	cmd := &cobra.Command{
		Use: "sessions", Short: "List sessions", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			for name, value := range map[string]string{"listener": listener, "cluster": cluster, "server": server} {
				if value != "" {
					q.Set(name, value)
				}
			}
			c, err := flags.client()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), requestTimeout)
			defer cancel()
			var list []status.Session
			text, err := c.do(ctx, http.MethodGet, "/v1/sessions?"+q.Encode(), nil, &list)
			if err == nil && len(list) == 0 {
				err = c.checkFilter(ctx, listener, cluster, server)
			}
			switch {
			case err != nil:
				return err
			case flags.json:
				return indent(cmd.OutOrStdout(), text)
			}
			showSessions(cmd.OutOrStdout(), list)
			return nil
		},
	}
	cmd.Flags().StringVar(&listener, "listener", "", "only sessions of this listener")
	cmd.Flags().StringVar(&cluster, "cluster", "", "only sessions of this cluster")
	cmd.Flags().StringVar(&server, "server", "", "only sessions of this server: its name, address or host")
	cmd.Flags().IntVar(&limit, "limit", 1000, "the maximum number of sessions to list")
	completeFilters(cmd, flags)
	return cmd
}

// checkFilter returns an error if a name that selects sessions does not exist. "" selects all.
func (c *client) checkFilter(ctx context.Context, listener, cluster, server string) error {
	if listener == "" && cluster == "" && server == "" {
		return nil
	}
	doc, err := fetchStatus(ctx, c)
	if err != nil {
		return err
	}
	var known []string
	where := "no server " + server
	for i := range doc.Clusters {
		if of := &doc.Clusters[i]; cluster == "" || of.Name == cluster {
			known = slices.Concat(known, serversOf(of), addressesOf(of), of.Removed)
		}
	}
	if cluster != "" {
		where = "cluster " + cluster + " has no server " + server
	}
	for _, x := range []struct {
		name, text string
		known      []string
	}{
		{listener, "no listener " + listener, listenersOf(doc)},
		{cluster, "no cluster " + cluster, clustersOf(doc)},
		{server, where, known},
	} {
		if x.name != "" && !slices.Contains(x.known, x.name) {
			return errors.New(x.text + didYouMean(x.name, x.known))
		}
	}
	return nil
}

func showSessions(w io.Writer, list []status.Session) {
	slices.SortFunc(list, func(a, b status.Session) int { return cmp.Compare(a.ID, b.ID) })
	if slices.ContainsFunc(list, func(s status.Session) bool { return s.SNI != "" || s.Route != "" }) {
		showRoutedSessions(w, list)
		return
	}
	t := columns("!ID", "!CLIENT", "@SERVER", "!PHASE", ">TO SERVER", ">TO CLIENT", ">AGE")
	for _, s := range list {
		t.row(s.ID, s.Client, serverName{s.Cluster, s.Server}, phaseText(&s), size(s.BytesUp), size(s.BytesDown), age(s.AgeSeconds))
	}
	t.print(w, "")
}

// phaseText is the phase of a session; one whose packets the kernel forwards says so.
func phaseText(s *status.Session) string {
	if s.Forward == "kernel" {
		return s.Phase + " (kernel)"
	}
	return s.Phase
}

// showRoutedSessions is showSessions if some of the sessions have a route or a server name.
func showRoutedSessions(w io.Writer, list []status.Session) {
	t := columns("!ID", "!CLIENT", "ROUTE", "SNI", "@SERVER", "!PHASE", ">?TO SERVER", ">?TO CLIENT", ">AGE")
	for _, s := range list {
		t.row(s.ID, s.Client, cmp.Or(s.Route, "-"), cmp.Or(s.SNI, "-"), serverName{s.Cluster, s.Server}, phaseText(&s), size(s.BytesUp), size(s.BytesDown), age(s.AgeSeconds))
	}
	t.print(w, "")
}

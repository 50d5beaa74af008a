package cli

import (
	"cmp"
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
			return request(cmd, flags, http.MethodGet, "/v1/sessions?"+q.Encode(), nil, showSessions)
		},
	}
	cmd.Flags().StringVar(&listener, "listener", "", "only sessions of this listener")
	cmd.Flags().StringVar(&cluster, "cluster", "", "only sessions of this cluster")
	cmd.Flags().StringVar(&server, "server", "", "only sessions of this server")
	cmd.Flags().IntVar(&limit, "limit", 1000, "the maximum number of sessions to list")
	completeFilters(cmd, flags)
	return cmd
}

func showSessions(w io.Writer, list []status.Session) {
	slices.SortFunc(list, func(a, b status.Session) int { return cmp.Compare(a.ID, b.ID) })
	if slices.ContainsFunc(list, func(s status.Session) bool { return s.SNI != "" || s.Route != "" }) {
		showRoutedSessions(w, list)
		return
	}
	t := columns("!ID", "CLIENT", "SERVER", "PHASE", ">UP", ">DOWN", ">AGE")
	for _, s := range list {
		t.row(s.ID, s.Client, serverOf(&s), s.Phase, size(s.BytesUp), size(s.BytesDown), age(s.AgeSeconds))
	}
	t.print(w, "")
}

// showRoutedSessions is showSessions if some of the sessions have a route or a server name.
func showRoutedSessions(w io.Writer, list []status.Session) {
	t := columns("!ID", "CLIENT", "ROUTE", "SNI", "SERVER", "PHASE", ">UP", ">DOWN", ">AGE")
	for _, s := range list {
		t.row(s.ID, s.Client, cmp.Or(s.Route, "-"), cmp.Or(s.SNI, "-"), serverOf(&s), s.Phase, size(s.BytesUp), size(s.BytesDown), age(s.AgeSeconds))
	}
	t.print(w, "")
}

// serverOf returns the cluster and server of a session.
func serverOf(s *status.Session) string {
	if s.Server == "" {
		return s.Cluster
	}
	return s.Cluster + "/" + s.Server
}

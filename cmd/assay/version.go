package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "0.1.0-dev"

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			doc := struct {
				Schema  string `json:"schema"`
				Version string `json:"version"`
				Go      string `json:"go"`
				OS      string `json:"os"`
				Arch    string `json:"arch"`
			}{cliSchema("version"), version, runtime.Version(), runtime.GOOS, runtime.GOARCH}
			return a.print(doc, func(w io.Writer) {
				fmt.Fprintf(w, "assay %s (%s %s/%s)\n", doc.Version, doc.Go, doc.OS, doc.Arch)
			})
		},
	}
}

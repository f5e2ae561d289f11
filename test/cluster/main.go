// SPDX-License-Identifier: Apache-2.0

// Command cluster brings up a real Kubernetes in network namespaces of this computer, breaks its network on request,
// and takes it down again.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/lab"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/machine"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/preflight"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/report"
)

// errNotRunning makes `status` fail without another line of text.
var errNotRunning = errors.New("not everything runs")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	if err == nil {
		return
	}
	if !errors.Is(err, errNotRunning) {
		fmt.Fprintln(os.Stderr, "cluster:", err)
	}
	os.Exit(1)
}

func root() *cobra.Command {
	var name string
	cluster := func() (lab.Cluster, error) { return lab.Named(name) }
	root := &cobra.Command{
		Use:           "cluster",
		Short:         "A real Kubernetes in network namespaces, to test on",
		SilenceUsage:  true,
		SilenceErrors: true,
		// Flags before a verb are the root's, so that kubectl's verb can leave those after it alone.
		TraverseChildren: true,
	}
	fallback := os.Getenv("L2_CLUSTER")
	if fallback == "" {
		fallback = "l2"
	}
	root.PersistentFlags().StringVar(&name, "name", fallback, "which cluster; $L2_CLUSTER is the default for it")
	root.AddCommand(
		upCommand(cluster), downCommand(cluster), statusCommand(cluster), buildCommand(),
		cutCommand(cluster), isolateCommand(cluster), splitCommand(cluster), healCommand(cluster), stopAPICommand(cluster), startAPICommand(cluster),
		execCommand(cluster), kubectlCommand(cluster), envCommand(cluster), loadImageCommand(cluster),
		machineCommand(), forwardCommand(),
	)
	return root
}

// named gives the cluster that --name chose, once flags are read.
type named func() (lab.Cluster, error)

func upCommand(cluster named) *cobra.Command {
	options := lab.Options{}
	command := &cobra.Command{
		Use:   "up",
		Short: "Bring the cluster up, or start again what has ended in one that is up",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := cluster()
			if err != nil {
				return err
			}
			progress := report.New(os.Stdout)
			if err := c.Up(command.Context(), options, progress); err != nil {
				return err
			}
			fmt.Print(howToLookAround(c, progress))
			return nil
		},
	}
	command.Flags().IntVar(&options.Nodes, "nodes", 3, "number of nodes")
	command.Flags().IntVar(&options.APIPort, "api-port", 0, "port on 127.0.0.1 for the API server; 0 is any that is free")
	return command
}

func howToLookAround(c lab.Cluster, progress *report.Report) string {
	return fmt.Sprintf(`
Cluster %[1]q is up, after %.1[2]f s.
  kubeconfig  %[3]s
  kubectl     %[4]s
Look around:
  eval "$(%[5]s env --name %[1]s)"          then kubectl get nodes -o wide
  %[5]s exec --name %[1]s client -- ip neigh   a command on a host of the LAN
  %[5]s status --name %[1]s                 what runs
  %[5]s cut --name %[1]s node-1             pull a cable; isolate and heal, too
  %[5]s down --name %[1]s                   remove it all
`, c.Name, progress.Elapsed().Seconds(), c.Kubeconfig(), c.Kubectl(), os.Args[0])
}

func downCommand(cluster named) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove every process, mount, namespace, cgroup and file of the cluster",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := cluster()
			if err != nil {
				return err
			}
			return c.Down(report.New(os.Stdout))
		},
	}
}

func statusCommand(cluster named) *cobra.Command {
	var format string
	command := &cobra.Command{
		Use:   "status",
		Short: "Tell what runs; succeeds only when everything does",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := cluster()
			if err != nil {
				return err
			}
			if err := preflight.RequireRoot(); err != nil {
				return err
			}
			status, err := c.Status(command.Context())
			if err != nil {
				return err
			}
			switch format {
			case "":
				status.Print(os.Stdout)
			case "json":
				encoder := json.NewEncoder(os.Stdout)
				encoder.SetIndent("", "  ")
				if err := encoder.Encode(status); err != nil {
					return fmt.Errorf("writing the status: %w", err)
				}
			default:
				return fmt.Errorf("output format %q: there is only json", format)
			}
			if !status.Runs {
				return errNotRunning
			}
			return nil
		},
	}
	command.Flags().StringVarP(&format, "output", "o", "", "json, for programs")
	return command
}

func buildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build",
		Short: "Build Kubernetes and the images into the cache, and start nothing",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			builds, err := lab.Build(command.Context(), report.New(os.Stdout))
			if err != nil {
				return err
			}
			fmt.Println("programs", builds.Programs)
			for _, image := range builds.Images {
				fmt.Println("image   ", image)
			}
			return nil
		},
	}
}

func machineCommand() *cobra.Command {
	return &cobra.Command{
		Use: machine.Verb, Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error { return machine.Run(arguments[0]) },
	}
}

func forwardCommand() *cobra.Command {
	return &cobra.Command{
		Use: lab.ForwardVerb, Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error { return lab.Forward(arguments[0]) },
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/lab"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/preflight"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/wire"
)

// The verbs that act on a cluster which is up.

// onCluster wraps what a verb does with what every one of them needs first.
func onCluster(cluster named, act func(c lab.Cluster, command *cobra.Command, arguments []string) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, arguments []string) error {
		c, err := cluster()
		if err != nil {
			return err
		}
		if err := preflight.RequireRoot(); err != nil {
			return err
		}
		return act(c, command, arguments)
	}
}

func cutCommand(cluster named) *cobra.Command {
	return &cobra.Command{
		Use:   "cut HOST",
		Short: "Pull a host's cable: its carrier goes",
		Args:  cobra.ExactArgs(1),
		RunE: onCluster(cluster, func(c lab.Cluster, _ *cobra.Command, arguments []string) error {
			return wire.Cut(c.Name, arguments[0])
		}),
	}
}

func isolateCommand(cluster named) *cobra.Command {
	var from string
	command := &cobra.Command{
		Use:   "isolate HOST",
		Short: "Drop a host's frames at the switch: its carrier stays",
		Args:  cobra.ExactArgs(1),
		RunE: onCluster(cluster, func(c lab.Cluster, _ *cobra.Command, arguments []string) error {
			switch from {
			case "lan":
				return wire.IsolateFromLAN(c.Name, arguments[0])
			case "api":
				return wire.IsolateFromAPI(c.Name, arguments[0])
			default:
				return fmt.Errorf("isolate --from %q: it is lan or api", from)
			}
		}),
	}
	command.Flags().StringVar(&from, "from", "lan", "lan: every frame; api: only those from and to the control plane")
	return command
}

func splitCommand(cluster named) *cobra.Command {
	return &cobra.Command{
		Use:   "split HOST…",
		Short: "Part the LAN in two, these hosts and the rest: every carrier stays",
		Args:  cobra.MinimumNArgs(1),
		RunE: onCluster(cluster, func(c lab.Cluster, _ *cobra.Command, arguments []string) error {
			return wire.Split(c.Name, arguments...)
		}),
	}
}

func healCommand(cluster named) *cobra.Command {
	return &cobra.Command{
		Use:   "heal HOST…",
		Short: "Mend what cut, isolate and split did to hosts",
		Args:  cobra.MinimumNArgs(1),
		RunE: onCluster(cluster, func(c lab.Cluster, _ *cobra.Command, arguments []string) error {
			for _, host := range arguments {
				if err := wire.Heal(c.Name, host); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func stopAPICommand(cluster named) *cobra.Command {
	var gracefully bool
	command := &cobra.Command{
		Use:   "stop-api",
		Short: "Kill kube-apiserver and nothing else",
		Args:  cobra.NoArgs,
		RunE: onCluster(cluster, func(c lab.Cluster, _ *cobra.Command, _ []string) error {
			return c.StopAPI(gracefully)
		}),
	}
	command.Flags().BoolVar(&gracefully, "gracefully", false, "tell it to stop, so that it takes itself out of the Service kubernetes, and kill it after 10 s")
	return command
}

func startAPICommand(cluster named) *cobra.Command {
	return &cobra.Command{
		Use:   "start-api",
		Short: "Start kube-apiserver again, and wait until it is ready",
		Args:  cobra.NoArgs,
		RunE: onCluster(cluster, func(c lab.Cluster, command *cobra.Command, _ []string) error {
			return c.StartAPI(command.Context())
		}),
	}
}

func execCommand(cluster named) *cobra.Command {
	command := &cobra.Command{
		Use:   "exec HOST -- COMMAND [ARGUMENT…]",
		Short: "Run a command in the network namespace of a host",
		Args:  cobra.MinimumNArgs(2),
		RunE: onCluster(cluster, func(c lab.Cluster, _ *cobra.Command, arguments []string) error {
			host, command := arguments[0], arguments[1:]
			if command[0] == "--" {
				command = command[1:]
			}
			if len(command) == 0 {
				return fmt.Errorf("which command is to run on %s?", host)
			}
			return c.Exec(host, command)
		}),
	}
	command.Flags().SetInterspersed(false)
	return command
}

// kubectlCommand leaves every flag after the verb to kubectl, but for --name where it comes first.
func kubectlCommand(cluster named) *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl [--name NAME] [ARGUMENT…]",
		Short:              "Run the cluster's kubectl on it",
		DisableFlagParsing: true,
		RunE: func(command *cobra.Command, arguments []string) error {
			own, rest := splitName(arguments)
			if err := command.InheritedFlags().Parse(own); err != nil {
				return err
			}
			run := func(c lab.Cluster, _ *cobra.Command, arguments []string) error { return c.RunKubectl(arguments) }
			return onCluster(cluster, run)(command, rest)
		},
	}
}

// splitName takes a leading --name off the arguments.
func splitName(arguments []string) (own, rest []string) {
	switch {
	case len(arguments) > 1 && arguments[0] == "--name":
		return arguments[:2], arguments[2:]
	case len(arguments) > 0 && strings.HasPrefix(arguments[0], "--name="):
		return arguments[:1], arguments[1:]
	default:
		return nil, arguments
	}
}

func envCommand(cluster named) *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: `Print what makes a shell use the cluster: eval "$(cluster env)"`,
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := cluster()
			if err != nil {
				return err
			}
			if _, err := os.Stat(c.Kubeconfig()); err != nil {
				return fmt.Errorf("cluster %q is not up: %w", c.Name, err)
			}
			fmt.Printf("export L2_CLUSTER=%s\nexport KUBECONFIG=%s\nexport PATH=%s:\"$PATH\"\n", c.Name, c.Kubeconfig(), c.ProgramFolder())
			return nil
		},
	}
}

func loadImageCommand(cluster named) *cobra.Command {
	return &cobra.Command{
		Use:   "load-image FILE…",
		Short: "Import image archives (docker save) into every node",
		Args:  cobra.MinimumNArgs(1),
		RunE: onCluster(cluster, func(c lab.Cluster, command *cobra.Command, arguments []string) error {
			return c.LoadImages(command.Context(), arguments)
		}),
	}
}

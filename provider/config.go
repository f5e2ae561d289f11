// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	cloudprovider "k8s.io/cloud-provider"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// What the file that --cloud-config names says of itself.
const (
	ConfigAPIVersion = "cloud-provider-l2/v1"
	ConfigKind       = "CloudConfig"
)

// Config is the file that --cloud-config names, in YAML or JSON. A field that is left out has the default of the flag of
// its name.
type Config struct {
	// APIVersion and Kind are ConfigAPIVersion and ConfigKind.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Namespace of the IPAddressPools, of the Leases and of the memberlist Secret.
	Namespace *string `json:"namespace,omitempty"`
	// LoadBalancerClass of Services to serve besides class-less ones.
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`
	// ServeClassless tells whether to serve Services without a class.
	ServeClassless *bool `json:"serveClassless,omitempty"`
	// ShareAcrossNamespaces lets Services of different namespaces share an address.
	ShareAcrossNamespaces *bool `json:"shareAcrossNamespaces,omitempty"`
	// IgnoreExcludeLB says that the speakers have --ignore-exclude-lb.
	IgnoreExcludeLB *bool `json:"ignoreExcludeLB,omitempty"`
}

// The provider is registered where every cloud controller manager looks for it, so that any that imports this package
// can have it with --cloud-provider=l2. Its service controller must be started by Cloud.StartServiceController.
func init() {
	cloudprovider.RegisterCloudProvider(Name, func(file io.Reader) (cloudprovider.Interface, error) {
		cloud := New()
		if file == nil {
			return cloud, nil
		}
		options, err := ReadConfig(file)
		if err != nil {
			return nil, err
		}
		cloud.Configure(options)
		return cloud, nil
	})
}

// DefaultOptions are those of a program that is told nothing. In a pod the namespace is its own.
func DefaultOptions() Options {
	return Options{Namespace: cmp.Or(os.Getenv("POD_NAMESPACE"), "metallb-system")}
}

// ReadConfig reads the file that --cloud-config names. It is strict: what it does not know, or cannot use, is an error
// that says what to write instead.
func ReadConfig(file io.Reader) (Options, error) {
	document, err := onlyDocument(file)
	if err != nil {
		return Options{}, err
	}
	var config Config
	unknown, err := json.UnmarshalStrict(document, &config)
	if err != nil {
		return Options{}, fmt.Errorf("the file is not a %s: %w", ConfigKind, err)
	}
	if config.APIVersion != ConfigAPIVersion || config.Kind != ConfigKind {
		return Options{}, fmt.Errorf("the file has apiVersion %q and kind %q: write apiVersion: %s and kind: %s", config.APIVersion, config.Kind, ConfigAPIVersion, ConfigKind)
	}
	if len(unknown) > 0 {
		return Options{}, fmt.Errorf("%s: correct or remove it; besides apiVersion and kind there are namespace, loadBalancerClass, serveClassless, shareAcrossNamespaces and ignoreExcludeLB",
			list(unknown))
	}
	options := config.options()
	return options, options.Validate()
}

func list(errs []error) string {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// onlyDocument is the file as JSON. It refuses a file of several documents, of which all but the first would have no effect.
func onlyDocument(file io.Reader) ([]byte, error) {
	reader := yamlutil.NewYAMLReader(bufio.NewReader(file))
	only := []byte("{}")
	for found := false; ; {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return only, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the file: %w", err)
		}
		document, err := yaml.YAMLToJSONStrict(text)
		if err != nil {
			return nil, fmt.Errorf("the file is not the YAML of a %s: %w", ConfigKind, err)
		}
		if string(document) == "null" {
			continue // nothing but comments
		}
		if found {
			return nil, fmt.Errorf("the file has more than one YAML document: write one %s", ConfigKind)
		}
		only, found = document, true
	}
}

func (c *Config) options() Options {
	options := DefaultOptions()
	set(&options.Namespace, c.Namespace)
	set(&options.LoadBalancerClass, c.LoadBalancerClass)
	if c.ServeClassless != nil {
		options.HideClassless = !*c.ServeClassless
	}
	if c.ShareAcrossNamespaces != nil {
		options.SeparateNamespaces = !*c.ShareAcrossNamespaces
	}
	set(&options.IgnoreExcludeLabel, c.IgnoreExcludeLB)
	return options
}

func set[T any](option *T, given *T) {
	if given != nil {
		*option = *given
	}
}

// Validate says which option cannot be meant.
func (o Options) Validate() error {
	var errs []error
	if problems := validation.IsDNS1123Label(o.Namespace); len(problems) > 0 {
		errs = append(errs, fmt.Errorf("namespace %q is not the name of a namespace, as in metallb-system: %s", o.Namespace, strings.Join(problems, "; ")))
	}
	if o.LoadBalancerClass != "" {
		if problems := validation.IsQualifiedName(o.LoadBalancerClass); len(problems) > 0 {
			errs = append(errs, fmt.Errorf("loadBalancerClass %q cannot be that of a Service, as in example.com/l2: %s", o.LoadBalancerClass, strings.Join(problems, "; ")))
		}
	}
	return errors.Join(errs...)
}

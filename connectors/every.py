"""Every connector there is. The union is the registry: the configuration decodes into it by its `vendor` tag."""

from connectors.octorate import Octorate

Every = Octorate

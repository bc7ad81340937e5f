"""Every connector there is. The union is the registry: the configuration decodes into it by its `vendor` tag."""

from connectors.carbontrack import CarbonTrack
from connectors.ipro import Ipro
from connectors.octorate import Octorate
from connectors.powerpro import PowerPro

Every = Octorate | Ipro | CarbonTrack | PowerPro

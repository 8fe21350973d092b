"""Reading what a submitter sent, in a process of its own with limits of time and memory.

Archives and the files in them are a stranger's, and some readers of configuration formats take
minutes and gigabytes for a few kilobytes. So a program that has to know what a bundle says asks an
:class:`Inspector`: a server process, forked before there are threads, forks again for each bundle,
and what goes wrong in there is the refusal of that one bundle.
"""

from fedgate_gateway.inspection.contract import Inspected, Inspects
from fedgate_gateway.inspection.inspector import Inspector
from fedgate_gateway.inspection.process import InspectionProcess

__all__ = ["Inspected", "InspectionProcess", "Inspector", "Inspects"]

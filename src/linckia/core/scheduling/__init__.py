"""Where work goes in a cluster of many nodes: a view of the nodes, policies over it, reasons with every answer. Pure."""

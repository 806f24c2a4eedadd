"""Where work goes in a cluster of many nodes: a view, policies over it, reasons with every answer. Pure."""

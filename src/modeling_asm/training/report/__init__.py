"""What a run leaves: results, tables, plots, a model card, and a repository on the Hub."""

"""What the questions share: servers, workers, accounting, figures, tables."""

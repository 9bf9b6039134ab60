"""From records to what is read: tables, figures, the README."""

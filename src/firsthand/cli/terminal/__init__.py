"""What a terminal shows when a command has ended: tables and notes, one file for each kind of result."""

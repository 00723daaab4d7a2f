"""How a changed model does on the user's samples: what runs it, what measures it, and how the smallest setting within a bound is found."""

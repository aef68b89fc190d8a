"""What any strategy may use, ours and third parties' alike."""

package fleet

import "fmt"

// enumText returns the stable word for an enum value. The words appear in files,
// API and logs; the numbers appear in the replicated log. Neither may change.
func enumText[T ~uint8](words []string, v T) string {
	if int(v) < len(words) {
		return words[v]
	}
	return fmt.Sprintf("invalid(%d)", uint8(v))
}

func marshalEnum[T ~uint8](kind string, words []string, v T) ([]byte, error) {
	if int(v) >= len(words) {
		return nil, fmt.Errorf("%s %d has no name", kind, uint8(v))
	}
	return []byte(words[v]), nil
}

func unmarshalEnum[T ~uint8](kind string, words []string, text []byte, v *T) error {
	for i, w := range words {
		if w == string(text) {
			*v = T(i)
			return nil
		}
	}
	return fmt.Errorf("unknown %s %q: want one of %v", kind, text, words)
}

package keys

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxOnce is the longest key of a done-marker, in bytes: room for the name of an
// image with its digest.
const maxOnce = 1000

// onceText makes any printable text one element of a key.
var onceText = strings.NewReplacer("%", "%25", "/", "%2F", " ", "%20")

// CheckOnce says why key cannot be that of a done-marker, or nil. It is 1 to 1000
// bytes of printable UTF-8.
func CheckOnce(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("the key is empty")
	case len(key) > maxOnce:
		return fmt.Errorf("the key is %d bytes long; the limit is %d", len(key), maxOnce)
	case !utf8.ValidString(key):
		return fmt.Errorf("the key %+q is not UTF-8", key)
	}
	for _, r := range key {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("the key %+q contains %+q; use printable characters", key, r)
		}
	}
	return nil
}

// Once returns the key in etcd of the done-marker key of the office called name,
// which have passed CheckOnce and CheckName. What a name could be lies where it
// always has; everything else beside that, so that no two keys share a place.
func (s Space) Once(name, key string) string {
	if CheckName(key) == nil {
		return s.onces(name) + key
	}
	return s.onceTexts(name) + onceText.Replace(key)
}

// Onces returns the prefixes under which the done-markers of the office called
// name lie; see OnceOf.
func (s Space) Onces(name string) []string { return []string{s.onces(name), s.onceTexts(name)} }

func (s Space) onces(name string) string     { return string(s) + "/once/" + name + "/" }
func (s Space) onceTexts(name string) string { return string(s) + "/once-text/" + name + "/" }

// OnceOf returns the key of which at is the done-marker of the office called name.
func (s Space) OnceOf(name, at string) (key string, ok bool) {
	key, plain := strings.CutPrefix(at, s.onces(name))
	if !plain {
		text, _ := strings.CutPrefix(at, s.onceTexts(name))
		var err error
		if key, err = url.PathUnescape(text); err != nil {
			return "", false
		}
	}
	return key, key != "" && s.Once(name, key) == at
}
